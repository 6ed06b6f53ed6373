"""Documents that somebody else wrote: what DESIGN's examples leave out is filled in, what cannot be is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from agent.core.codec import convert, decode, decode_answer
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.topology import HostTopology, find_contradiction
from agent.core.usage import Limits, Usage

PLACEMENT: dict[str, Any] = {
    "schema": "cellwright.placement/1",
    "fits": True,
    "host": "osdev-01",
    "name": "db-1",
    "cells": [
        {
            "guest_cell": 0,
            "host_cell": 1,
            "vcpus": "0-1",
            "memory_kib": 4194304,
            "page_kib": None,
            "policy": "dedicated",
            "pins": {"0": "18", "1": "54"},
        }
    ],
    "emulator": "18,54",
    "iothreads": {},
    "reserved": "",
    "realtime": "",
    "mempolicy": "strict",
    "cpu_topology": {"sockets": 1, "cores": 1, "threads": 2},
}
"""The Placement of DESIGN section 3, of two vCPUs."""

HOST: dict[str, Any] = {
    "hostname": "osdev-01",
    "online": "0-3",
    "cells": [
        {"id": 0, "cpus": "0-1", "memory_kib": 4096, "cores": [{"socket": 0, "die": 0, "core": 0, "cpus": "0-1"}]},
        {"id": 1, "cpus": "2-3", "pages": [{"size_kib": 4, "total": 1024, "free": None}]},
    ],
}


def changed(tree: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with one value replaced: ``cells.0.memory_kib``."""
    whole = copy.deepcopy(tree)
    inner: Any = whole
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return whole


def test_a_placement_need_not_repeat_what_its_cells_say() -> None:
    placement = decode_answer(json.dumps(PLACEMENT), source="a.json")
    assert isinstance(placement, Placement)
    assert (placement.vcpus, placement.memory_kib) == (2, 4194304)


def test_a_floating_placement_has_the_vcpus_that_the_guest_sees() -> None:
    floating = {**PLACEMENT, "cells": [], "mempolicy": None, "memory_kib": 2048}
    placement = decode_answer(json.dumps(floating))
    assert isinstance(placement, Placement)
    assert (placement.vcpus, placement.memory_kib) == (2, 2048)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("cells.0.pins", {"0": "18"}, "guest cell 0: its vcpus are 0-1, and pins has 0"),
        ("cells.0.pins", {"0": "18", "1": ""}, "guest cell 0: vCPU 1 owns one pCPU, and its pin is ''"),
        ("cells.0.pins", {"0": "18", "1": "18-19"}, "guest cell 0: vCPU 1 owns one pCPU, and its pin is '18-19'"),
        ("cells.0.dedicated", "0-2", "guest cell 0: vCPU 2 owns one pCPU, and its pin is ''"),
        ("cells.0.vcpus", "1-2", "guest cell 0: its vcpus are 1-2, and pins has 0, 1"),
        ("cells", PLACEMENT["cells"] * 2, "guest cell 0: vCPUs 0-1 are of another guest cell too"),
        ("vcpus", 3, "vcpus is 3, and the cells have 0-1"),
        ("cells", [], "memory_kib is missing, and no cell says how much"),
        ("cells.0.host_cell", -1, ">= 0 - at `$.cells[0].host_cell`"),
        ("cells.0.memory_kib", -1, ">= 0 - at `$.cells[0].memory_kib`"),
        ("cells.0.page_kib", 0, ">= 1 - at `$.cells[0].page_kib`"),
        ("cpu_topology.sockets", 0, ">= 1 - at `$.cpu_topology.sockets`"),
    ],
)
def test_a_placement_that_contradicts_itself_is_refused(path: str, value: object, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode_answer(json.dumps(changed(PLACEMENT, path, value)), source="a.json")
    assert str(refused.value).startswith("a.json: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("cells.1.id", 0, "cell 0 is listed twice"),
        ("cells.1.cpus", "1-3", "cell 1: pCPUs 1 are in another cell too"),
        ("online", "0-2", "cell 1: pCPUs 3 are not in online, '0-2'"),
        ("cells.0.cores.0.cpus", "", "cell 0: a core without pCPUs"),
    ],
)
def test_a_host_that_no_kernel_shows_is_told(path: str, value: object, said: str) -> None:
    assert find_contradiction(convert(HOST, HostTopology)) is None
    assert find_contradiction(convert(changed(HOST, path, value), HostTopology)) == said


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("cells.1.pages.0.size_kib", 0, ">= 1"),
        ("cells.1.pages.0.total", -1, ">= 0"),
        ("cells.0.memory_kib", -1, ">= 0"),
        ("cells.0.memory_kib", 10**30, "<= 9007199254740991"),
        ("cells.0.free_kib", 1 << 53, "<= 9007199254740991"),
    ],
)
def test_memory_that_no_machine_has_is_refused(path: str, value: int, allowed: str) -> None:
    with pytest.raises(BadInput, match=f"Expected `int.*` {allowed} - at "):
        convert(changed(HOST, path, value), HostTopology)


@pytest.mark.parametrize("key", ["floating_vcpus", "memory_kib"])
def test_guests_that_hold_more_than_any_machine_has_are_refused(key: str) -> None:
    with pytest.raises(BadInput, match="Expected `int` <= 9007199254740991"):
        convert({"cells": [{"id": 0, key: 10**30}]}, Usage)


@pytest.mark.parametrize(
    "text",
    [
        '{"cpu_allocation_ratio": 0}',
        '{"ram_allocation_ratio": -1.5}',
        '{"reserved_memory_mb": {"0": -1}}',
        '{"reserved_huge_pages": [{"cell": 0, "size_kib": 0, "count": 1}]}',
    ],
)
def test_limits_below_nothing_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^l.json: Expected `(int|float)` >=? "):
        decode(text, Limits, source="l.json")
