"""What the codec says of documents it refuses: the source, the place, what was found, and what is allowed there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.core.codec import convert, decode, decode_answer, encode, to_tree
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.core.wire import HostReport

REFUSED = [
    # a mistyped key of the document itself
    (Request, {"flavour": {}, "flavor": {"vcpus": 1, "ram_mb": 1}}, "unknown field `flavour`", "flavor, name, image"),
    # one key down
    (Request, {"flavor": {"vcpu": 1, "ram_mb": 1}}, "`vcpu` - at `$.flavor`", "vcpus, ram_mb, name"),
    # inside an item of a list
    (Limits, {"reserved_huge_pages": [{"cell": 0, "size_kib": 4, "counts": 1}]}, "`counts`", "cell, size_kib, count"),
    # what guests own must not be lost by a slip of the pen
    (Usage, {"cells": [{"id": 0, "pined": "0-3"}]}, "`pined` - at `$.cells[0]`", "id, pinned, floating_vcpus"),
    # another document
    (Usage, {"flavor": {"vcpus": 1, "ram_mb": 1}}, "unknown field `flavor`", "cells, devices"),
]


@pytest.mark.parametrize(("type", "tree", "found", "allowed"), REFUSED)
def test_an_unknown_key_is_answered_with_those_allowed_there(
    type: type[Any], tree: dict[str, Any], found: str, allowed: str
) -> None:
    for read in (lambda: decode(msgspec.json.encode(tree), type, source="a.json"), lambda: convert(tree, type)):
        with pytest.raises(BadInput) as refused:
            read()
        assert found in str(refused.value)
        assert f"allowed: {allowed}" in str(refused.value)


@pytest.mark.parametrize(("value", "kind"), [(None, "null"), ([1], "array"), ({"a": 1}, "object")])
def test_a_value_of_a_dict_is_named_by_its_key(value: object, kind: str) -> None:
    tree = {"flavor": {"vcpus": 1, "ram_mb": 1, "extra_specs": {"hw:cpu_policy": "shared", "hw:numa_nodes": value}}}
    for read in (lambda: decode(msgspec.json.encode(tree), Request), lambda: convert(tree, Request)):
        with pytest.raises(BadInput, match=rf"got `{kind}` - at `\$\.flavor\.extra_specs\['hw:numa_nodes'\]`$"):
            read()


def test_any_other_complaint_stands_as_it_is() -> None:
    with pytest.raises(BadInput, match=r"^a.json: Expected `int`, got `str` - at `\$.vcpus`$"):
        decode(b'{"vcpus": "1", "ram_mb": 1}', Flavor, source="a.json")


def test_a_cell_number_that_no_kernel_gives_is_refused() -> None:
    tree = {"hostname": "h", "online": "0", "cells": [{"id": 99999999, "cpus": "0"}]}
    with pytest.raises(BadInput, match=r"<= 65535 - at `\$.cells\[0\].id`"):
        decode(msgspec.json.encode(tree), HostTopology)


def test_what_is_encoded_is_read_back() -> None:
    flavor = Flavor(vcpus=2, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"})
    assert decode(encode(flavor), Flavor) == flavor


@pytest.mark.parametrize(
    ("type", "tree"),
    [
        # a key that holds something else in the next version
        (HostTopology, {"schema": "cellwright.topology/2", "hostname": "h", "online": [0], "cells": []}),
        # a key that is required today, and is gone
        (HostTopology, {"schema": "cellwright.topology/2"}),
        # a key that today's version does not know
        (Usage, {"schema": "cellwright.usage/2", "cells": [{"id": "first"}]}),
        # a document of another kind
        (Usage, {"schema": "cellwright.placement/1", "cells": [{"host_cell": 0}]}),
    ],
)
def test_another_major_version_is_refused_by_name_whatever_its_keys_are(type: type[Any], tree: dict[str, Any]) -> None:
    for read in (lambda: decode(msgspec.json.encode(tree), type, source="a.json"), lambda: convert(tree, type)):
        with pytest.raises(BadInput, match=f"schema is '{tree['schema']}', this version reads 'cellwright"):
            read()


def test_a_document_inside_another_is_checked_too() -> None:
    report = to_tree(HostReport(hostname="h", digest="d"))
    report["foreign"]["schema"] = "cellwright.usage/2"
    with pytest.raises(BadInput, match=r"^report: foreign: schema is 'cellwright.usage/2', this version reads"):
        convert(report, HostReport, source="report")


def test_an_answer_of_another_version_need_not_say_whether_it_fits() -> None:
    with pytest.raises(BadInput, match=r"schema is 'cellwright\.placement/2'"):
        decode_answer(b'{"schema": "cellwright.placement/2", "answer": "yes"}')


@pytest.mark.parametrize("text", [b"", b" \n", ""])
def test_a_file_of_nothing_is_called_empty(text: bytes | str) -> None:
    with pytest.raises(BadInput, match=r"^a.json: it is empty; allowed: a JSON document$"):
        decode(text, Flavor, source="a.json")


def test_an_unknown_word_is_answered_with_those_allowed_there() -> None:
    found = r"Invalid enum value 'tight' - at `\$\.mempolicy`; allowed: strict, preferred"
    with pytest.raises(BadInput, match=found):
        decode(b'{"fits": true, "host": "h", "name": "g", "mempolicy": "tight"}', Placement)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[1,", "truncated"),
        (b'{"vcpus": "many", "ram_mb"', "truncated"),
        (b'{"vcpus": "many"} \xff', "trailing characters"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'["\xff"]', "it is no UTF-8: invalid start byte"),
    ],
)
def test_what_is_no_json_is_said_before_what_is_wrong_in_it(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^a.json: .*{said}"):
        decode(data, Flavor, source="a.json")
