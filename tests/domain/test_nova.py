"""The elements that Nova 34 renders for the same placements, and where ours differ on purpose.

Each row was read off Nova's own driver on the 2 × 18 × 2 host; these are its facts, not its text.
"""

import pytest

from agent.core.placement import CpuTopology, Placement
from agent.core.policy import CpuPolicy
from agent.domain.document import Element, facts, parse_xml
from agent.domain.render import render_domain
from tests.domain.cases import cell, cpus, guest

CELL_1 = "18-35,54-71"
DIFFERENCES = {
    "shares": "Nova writes none since cgroup v2 broke guests of ten vCPUs; ours are capped at what cgroup v2 takes",
    "iothreadpin": "Nova gives every guest one I/O thread; we give it those that the placement has",
    "page": "Nova writes a <page> for each guest cell, we one for each size with all its cells in nodeset",
    "distances": "Nova tells a guest of several cells nothing about their distance, we tell what the host has",
    "unit": "we say KiB on <cell memory>, which is what it means without a unit",
}


def pairs(*pinned: tuple[int, int]) -> dict[int, str]:
    return {vcpu: str(cpu) for vcpu, cpu in pinned}


TWO_CELLS = guest(
    cell(0, 0, {0: "0", 1: "36"}, page_kib=2048), cell(1, 1, {2: "18", 3: "54"}, page_kib=2048), emulator="0,18,36,54"
)
QUAD = {0: "18", 1: "54", 2: "19", 3: "55"}

NOVA = [
    (
        "floats over cpu_shared_set",
        guest(emulator="0-3", vcpus=2, memory_kib=4 << 20, cpu_topology=CpuTopology(2, 1, 1)),
        {"cpuset": "0-3", "cputune": [], "numatune": [], "backing": [], "cells": [], "sockets": "2"},
    ),
    (
        "hw:numa_nodes=1, shared",
        guest(cell(0, 1, {0: CELL_1, 1: CELL_1}, memory_kib=4 << 20, policy=CpuPolicy.SHARED), emulator=CELL_1),
        {
            "cpuset": None,
            "cputune": ["emulatorpin " + CELL_1, f"vcpupin 0 {CELL_1}", f"vcpupin 1 {CELL_1}"],
            "numatune": ["memory strict 1", "memnode 0 strict 1"],
            "backing": [],
            "cells": ["0 0-1 4194304"],
            "sockets": "2",
        },
    ),
    (
        "two cells with 2 MiB pages",
        TWO_CELLS,
        {
            "cpuset": None,
            "cputune": ["emulatorpin 0,18,36,54", "vcpupin 0 0", "vcpupin 1 36", "vcpupin 2 18", "vcpupin 3 54"],
            "numatune": ["memory strict 0-1", "memnode 0 strict 0", "memnode 1 strict 1"],
            "backing": ["hugepages"],
            "cells": ["0 0-1 2097152 shared", "1 2-3 2097152 shared"],
            "sockets": "4",
        },
    ),
    (
        "small pages are no huge pages",
        guest(cell(0, 1, QUAD, memory_kib=4 << 20, page_kib=4), emulator="18-19,54-55"),
        {
            "cpuset": None,
            "cputune": ["emulatorpin 18-19,54-55", "vcpupin 0 18", "vcpupin 1 54", "vcpupin 2 19", "vcpupin 3 55"],
            "numatune": ["memory strict 1", "memnode 0 strict 1"],
            "backing": [],
            "cells": ["0 0-3 4194304"],
            "sockets": "4",
        },
    ),
    (
        "real-time for all but vCPU 0",
        guest(cell(0, 1, QUAD, memory_kib=4 << 20), emulator="18", realtime=cpus("1-3")),
        {
            "cpuset": None,
            "cputune": [
                "emulatorpin 18",
                *("vcpupin 0 18", "vcpupin 1 54", "vcpupin 2 19", "vcpupin 3 55"),
                "vcpusched 1-3 fifo 1",
            ],
            "numatune": ["memory strict 1", "memnode 0 strict 1"],
            "backing": ["locked", "nosharepages"],
            "cells": ["0 0-3 4194304"],
            "sockets": "4",
        },
    ),
]

ATTRIBUTES = ("cellid", "vcpu", "vcpus", "mode", "scheduler", "priority", "cpuset", "nodeset")


def lines(parent: Element | None) -> list[str]:
    """Children without our documented differences, as words in a fixed order, sorted as Nova sorts pins."""
    children = [node for node in parent if node.tag not in DIFFERENCES] if parent is not None else []
    return [
        " ".join([str(node.tag), *(node.attrib[name] for name in ATTRIBUTES if name in node.attrib)])
        for node in children
    ]


@pytest.mark.parametrize(("shows", "placement", "nova"), NOVA, ids=[row[0] for row in NOVA])
def test_the_same_elements_as_nova(shows: str, placement: Placement, nova: dict[str, object]) -> None:
    root = parse_xml(render_domain(placement))
    names = ("id", "cpus", "memory", "memAccess")
    vcpu, topology = root.find("vcpu"), root.find("cpu/topology")
    assert vcpu is not None
    assert topology is not None
    assert {
        "cpuset": vcpu.get("cpuset"),
        "cputune": sorted(lines(root.find("cputune"))),
        "numatune": lines(root.find("numatune")),
        "backing": sorted(lines(root.find("memoryBacking"))),
        "cells": [" ".join(node.attrib[name] for name in names if name in node.attrib) for node in root.iter("cell")],
        "sockets": topology.get("sockets"),
    } == nova, shows


def test_the_differences_are_still_differences() -> None:
    """A row of DIFFERENCES that no longer holds is to be taken out."""
    root = parse_xml(render_domain(TWO_CELLS))
    assert root.findtext("cputune/shares") == "4096"
    assert root.find("cputune/iothreadpin") is None
    assert [facts(page)[1] for page in root.iter("page")] == [[("nodeset", "0-1"), ("size", "2048"), ("unit", "KiB")]]
    assert {node.get("unit") for node in root.iter("cell")} == {"KiB"}
    crowd = guest(cell(0, 0, pairs(*((vcpu, vcpu) for vcpu in range(16)))), emulator="0")
    assert parse_xml(render_domain(crowd)).findtext("cputune/shares") == "10000"
