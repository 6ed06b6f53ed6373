"""Any bytes in any kernel file give a value or BadInput with the file's name, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.codec import convert, encode
from agent.core.errors import BadInput
from agent.core.plainjson import dump
from agent.core.topology import HostTopology
from agent.inspection.allowed import parse_cpuset_mounts, parse_status
from agent.inspection.archive import Archive
from agent.inspection.capabilities import parse_capabilities
from agent.inspection.cells import parse_distances
from agent.inspection.cpuinfo import parse_cpuinfo
from agent.inspection.document import read_document
from agent.inspection.files import STAMP
from agent.inspection.lstopo import parse_lstopo
from agent.inspection.memory import parse_meminfo
from agent.inspection.values import (
    parse_count,
    parse_cpu_list,
    parse_cpu_mask,
    parse_id,
    parse_kib,
    parse_number,
    parse_stamp,
)
from tests.inspection.trees import CPU, NODE, two_cells

PARSERS: list[Callable[[str], Any]] = [
    parse_count,
    parse_cpu_list,
    parse_cpu_mask,
    parse_cpuinfo,
    parse_cpuset_mounts,
    parse_distances,
    parse_id,
    parse_kib,
    parse_meminfo,
    parse_number,
    parse_stamp,
    parse_status,
]
FILES = {name: data.encode() if isinstance(data, str) else data for name, data in two_cells().items()}

# what kernel files are made of, so that hypothesis gets past the first character
WORDS = st.sampled_from(
    [
        "0-3",
        ",",
        "-",
        "^",
        ":",
        "/",
        "\n",
        " ",
        "\t",
        "kB",
        "MemTotal:",
        "Node 0 ",
        "processor",
        "physical id",
        "core id",
        "Cpus_allowed_list:",
        "Cpus_allowed:",
        "10",
        "21",
        "-1",
        "K",
        "99999999999999999999",
        "ff,",
        "0x",
        "\x00",
        "²",
        "٣",
        "siblings",
        "cpu cores",
        "flags",
        "(null)",
        "cpu active mask: 95",
        "CPU7: online",
        "65535",
        "65536",
        "_",
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map("".join) | st.text(max_size=40)
BYTES = TEXTS.map(str.encode) | st.binary(max_size=60)


def refusal(call: Callable[[], object]) -> str | None:
    """What BadInput says; None when there is a value."""
    try:
        call()
    except BadInput as why:
        return str(why)
    return None


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=TEXTS)
def test_any_text_is_parsed_or_refused(parse: Callable[[str], Any], text: str) -> None:
    assert refusal(lambda: parse(text)) != ""


def read_on_both_lanes(archive: Archive) -> None:
    document = read_document(archive)
    assert encode(convert(document, HostTopology, source="host")).decode() == dump(document)


@given(name=st.sampled_from(sorted(FILES)), data=BYTES)
@example(name=f"{NODE}/node0/hugepages/hugepages-2048kB/nr_hugepages", data=b"-1")
@example(name=f"{NODE}/node0/meminfo", data=b"Node 0 MemTotal: 9999999999999999 kB")
@example(name=f"{CPU}/cpu0/cache/index0/level", data=b"-9999999999999999999")
@example(name=f"{CPU}/cpu0/cache/index0/size", data=b"9999999999999999G")
@example(name=f"{CPU}/cpu0/cache/index0/id", data=b"-9999999999999999999")
@example(name=STAMP, data=b"2026-11-23T00:00:00Z\n-4\n")
def test_any_bytes_in_any_file_give_a_document_or_name_the_file(name: str, data: bytes) -> None:
    said = refusal(lambda: read_on_both_lanes(Archive("host", FILES | {name: data}, {}, set())))
    assert said is None or name in said or "which CPUs run" in said


@given(names=st.sets(st.sampled_from(sorted(FILES)), max_size=8))
def test_a_tree_without_some_files_gives_a_document_or_names_one(names: set[str]) -> None:
    left = {name: FILES[name] for name in FILES.keys() - names}
    said = refusal(lambda: read_document(Archive("host", left, {}, set())))
    assert said is None or "host:" in said


@pytest.mark.parametrize("parse", [parse_capabilities, parse_lstopo])
@given(
    data=st.binary(max_size=200) | st.text(alphabet="<>/capilitestopgyhc= '\"&;!DOCTYPE", max_size=80).map(str.encode)
)
def test_any_bytes_as_xml_are_refused(parse: Callable[[bytes, str], Any], data: bytes) -> None:
    with pytest.raises(BadInput, match=r"file\.xml"):
        parse(data, "file.xml")
