"""The validator itself: right placements pass, and each way of spoiling one is caught by the rule that names it."""

from typing import Any

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, PlacedCell, PlacedDevice, Placement
from agent.core.policy import CpuPolicy, MemPolicy
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, Limits, PageUse, ReservedPages, Usage
from tests.hosts import host
from tests.placement.validator import RULES, broken_rules

MIB = 1024


def pinned(cell: int, host_cell: int, first: int, cpus: str, mib: int, **more: Any) -> PlacedCell:
    """A guest cell whose vCPUs from ``first`` on own ``cpus`` in order."""
    pins = {first + at: CpuSet([cpu]) for at, cpu in enumerate(CpuSet.parse(cpus))}
    own = {"policy": CpuPolicy.DEDICATED, **more}
    return PlacedCell(guest_cell=cell, host_cell=host_cell, vcpus=CpuSet(pins), memory_kib=mib * MIB, pins=pins, **own)


def placed(topology: HostTopology, vcpus: int, mib: int, *cells: PlacedCell, **more: Any) -> Placement:
    owned = CpuSet(cpu for cell in cells for cpus in cell.pins.values() for cpu in cpus)
    own: dict[str, Any] = {"emulator": owned, "mempolicy": MemPolicy.STRICT, **more}
    return Placement(
        host=topology.hostname,
        name="g",
        vcpus=vcpus,
        memory_kib=mib * MIB,
        cells=cells,
        cpu_topology=CpuTopology(vcpus, 1, 1),
        **own,
    )


def asked(vcpus: int, mib: int, **specs: str) -> Request:
    keys = {key.replace("__", ":").replace("numa_cpus_", "numa_cpus."): value for key, value in specs.items()}
    keys = {key.replace("numa_mem_", "numa_mem."): value for key, value in keys.items()}
    return Request(name="g", flavor=Flavor(vcpus=vcpus, ram_mb=mib, extra_specs=keys))


def with_nic(topology: HostTopology, cell: int) -> HostTopology:
    cells = tuple(
        msgspec.structs.replace(own, devices=(Device("net", "eno1", pci="0000:3b:00.0"),)) if own.id == cell else own
        for own in topology.cells
    )
    return msgspec.structs.replace(topology, cells=cells)


DEDICATED = {"hw__cpu_policy": "dedicated"}
OSDEV, SPLIT, HUGE = host("osdev-01"), host("osdev-split"), host("huge-pages")
NIC = PlacedDevice("0000:3b:00.0", 0, "eno1")
FLOATING = CpuSet.parse("0-3,36-39")

RIGHT: dict[str, tuple[HostTopology, Usage, Request, Limits | None, Placement]] = {
    "pinned": (
        OSDEV,
        Usage((CellUsage(0, pinned=CpuSet.parse("2,38"), memory_kib=1024, pages=(PageUse(4, 256),)),)),
        asked(4, 4096, **DEDICATED),
        None,
        placed(OSDEV, 4, 4096, pinned(0, 0, 0, "0-1,36-37", 4096)),
    ),
    "two cells": (
        OSDEV,
        Usage(),
        asked(6, 3072, **DEDICATED, hw__numa_nodes="2", hw__numa_cpus_0="0-3", hw__numa_cpus_1="4-5",
              hw__numa_mem_0="2048", hw__numa_mem_1="1024"),
        None,
        placed(OSDEV, 6, 3072, pinned(0, 1, 0, "18-19,54-55", 2048), pinned(1, 0, 4, "0,36", 1024)),
    ),
    "require": (
        OSDEV,
        Usage(),
        asked(3, 1024, **DEDICATED, hw__cpu_thread_policy="require"),
        None,
        placed(OSDEV, 3, 1024, pinned(0, 0, 0, "0,36,1", 1024)),
    ),
    "isolate": (
        SPLIT,
        Usage((CellUsage(0, pinned=CpuSet.parse("8,44")),)),
        asked(2, 1024, **DEDICATED, hw__cpu_thread_policy="isolate", hw__emulator_threads_policy="isolate"),
        None,
        placed(SPLIT, 2, 1024, pinned(0, 0, 0, "4-5", 1024), reserved=CpuSet.parse("6,40-42"), emulator=CpuSet([6])),
    ),
    "huge pages": (
        HUGE,
        Usage((CellUsage(1, pages=(PageUse(2048, 3000),)),)),
        asked(2, 2048, **DEDICATED, hw__mem_page_size="large"),
        Limits(reserved_huge_pages=(ReservedPages(1, 2048, 50),)),
        placed(HUGE, 2, 2048, pinned(0, 1, 0, "8,24", 2048, page_kib=2048)),
    ),
    "floating in a cell": (
        SPLIT,
        Usage((CellUsage(0, floating_vcpus=10, memory_kib=1024),)),
        asked(4, 4096, hw__numa_nodes="1"),
        Limits(cpu_allocation_ratio=2.0, ram_allocation_ratio=1.0),
        placed(SPLIT, 4, 4096, PlacedCell(guest_cell=0, host_cell=0, vcpus=CpuSet(range(4)), memory_kib=4096 * MIB,
                                          policy=CpuPolicy.SHARED, pins=dict.fromkeys(range(4), FLOATING))),
    ),
    "mixed, realtime, with a device": (
        with_nic(SPLIT, 0),
        Usage(),
        asked(4, 1024, hw__cpu_policy="mixed", hw__cpu_realtime="yes", hw__cpu_realtime_mask="^0-1",
              hw__pci_numa_affinity_policy="required"),
        None,
        placed(SPLIT, 4, 1024, PlacedCell(
            guest_cell=0, host_cell=0, vcpus=CpuSet(range(4)), memory_kib=1024 * MIB, policy=CpuPolicy.MIXED,
            pins={0: FLOATING, 1: FLOATING, 2: CpuSet([4]), 3: CpuSet([40])}),
            realtime=CpuSet([2, 3]), locked=True, emulator=FLOATING, devices=(NIC,)),
    ),
    "no wishes": (
        SPLIT, Usage(), asked(4, 1024), None, placed(SPLIT, 4, 1024, emulator=SPLIT.shared(), mempolicy=None)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_placements_pass(name: str) -> None:
    assert broken_rules(*RIGHT[name]) == []


def cell(placement: Placement, number: int = 0, **changes: Any) -> Placement:
    cells = list(placement.cells)
    cells[number] = msgspec.structs.replace(cells[number], **changes)
    return msgspec.structs.replace(placement, cells=tuple(cells))


def pin(placement: Placement, vcpu: int, cpus: str, number: int = 0) -> Placement:
    return cell(placement, number, pins={**placement.cells[number].pins, vcpu: CpuSet.parse(cpus)})


def whole(placement: Placement, **changes: Any) -> Placement:
    return msgspec.structs.replace(placement, **changes)


SPOILT = [
    ("pinned", lambda p: pin(p, 0, "2"), "pins", "another guest's pCPU"),
    ("pinned", lambda p: pin(p, 0, "1"), "pins", "two vCPUs on one pCPU"),
    ("pinned", lambda p: pin(p, 0, "18"), "pins", "a pCPU of the other cell"),
    ("pinned", lambda p: pin(p, 0, "0,3"), "pins", "a dedicated vCPU on two pCPUs"),
    ("pinned", lambda p: pin(p, 0, ""), "pins", "a dedicated vCPU on none"),
    ("pinned", lambda p: pin(p, 9, "9"), "pins", "a pin for a vCPU that does not exist"),
    ("pinned", lambda p: cell(p, policy=CpuPolicy.SHARED), "pins", "the wrong policy"),
    ("isolate", lambda p: pin(p, 0, "0"), "pins", "a pCPU outside the dedicated set"),
    ("pinned", lambda p: cell(p, host_cell=7), "host_cells", "a cell the host does not have"),
    ("two cells", lambda p: cell(p, 1, host_cell=1), "host_cells", "two guest cells on one host cell"),
    ("two cells", lambda p: whole(p, cells=p.cells[:1]), "guest_cells", "a guest cell is missing"),
    ("two cells", lambda p: whole(p, cells=p.cells[::-1]), "guest_cells", "guest cells out of order"),
    ("two cells", lambda p: cell(p, 0, memory_kib=1024 * MIB), "guest_cells", "a guest cell lost memory"),
    ("two cells", lambda p: cell(p, 1, vcpus=CpuSet([3, 4])), "guest_cells", "a vCPU in two cells"),
    ("pinned", lambda p: whole(p, cells=()), "guest_cells", "a pinned guest without cells"),
    ("pinned", lambda p: whole(p, vcpus=5), "totals", "another number of vCPUs"),
    ("pinned", lambda p: whole(p, cpu_topology=CpuTopology(3, 1, 1)), "totals", "a CPU topology of three vCPUs"),
    ("pinned", lambda p: whole(p, host="other"), "totals", "another host's name"),
    ("require", lambda p: pin(p, 2, "2"), "threads", "require with three lone vCPUs"),
    ("isolate", lambda p: pin(p, 1, "40"), "threads", "isolate with two vCPUs on a core"),
    ("isolate", lambda p: whole(p, reserved=CpuSet([6])), "threads", "isolate without idle siblings"),
    ("isolate", lambda p: pin(p, 1, "7"), "reserved", "a sibling kept idle for nothing"),
    ("isolate", lambda p: whole(p, reserved=p.reserved | [8]), "reserved", "another guest's pCPU reserved"),
    ("isolate", lambda p: whole(p, reserved=p.reserved | [5]), "reserved", "a pCPU pinned and reserved"),
    ("isolate", lambda p: whole(p, reserved=p.reserved | [0]), "reserved", "a shared pCPU reserved"),
    ("isolate", lambda p: whole(p, emulator=CpuSet([7])), "emulator", "the emulator on a pCPU nobody reserved"),
    ("isolate", lambda p: whole(p, emulator=CpuSet([40])), "emulator", "the emulator on a vCPU's core"),
    ("pinned", lambda p: whole(p, emulator=CpuSet([5])), "emulator", "the emulator on a free pCPU"),
    ("pinned", lambda p: whole(p, emulator=CpuSet()), "emulator", "the emulator nowhere"),
    ("isolate", lambda p: whole(p, iothreads={1: CpuSet([7])}), "iothreads", "an I/O thread on a free pCPU"),
    ("mixed, realtime, with a device", lambda p: whole(p, emulator=CpuSet([4])), "emulator", "emulator on realtime"),
    ("mixed, realtime, with a device", lambda p: pin(p, 0, "5"), "pins", "a floating vCPU pinned"),
    ("mixed, realtime, with a device", lambda p: whole(p, realtime=CpuSet([3])), "realtime", "a realtime vCPU less"),
    ("mixed, realtime, with a device", lambda p: whole(p, locked=False), "realtime", "realtime memory not locked"),
    ("mixed, realtime, with a device", lambda p: whole(p, devices=(NIC, NIC)), "devices", "a device given twice"),
    (
        "mixed, realtime, with a device",
        lambda p: whole(p, devices=(PlacedDevice("x", 0),)),
        "devices",
        "no such device",
    ),
    ("mixed, realtime, with a device", lambda p: cell(p, host_cell=1), "devices", "a device on the other cell"),
    ("huge pages", lambda p: cell(p, page_kib=4), "pages", "small pages when large were asked for"),
    ("huge pages", lambda p: cell(p, page_kib=1048576, memory_kib=2048 * MIB + 4), "pages", "half a page"),
    ("huge pages", lambda p: cell(p, memory_kib=2094 * MIB), "pages", "more than the free pages, reserve counted"),
    ("pinned", lambda p: cell(p, page_kib=4), "pages", "a page size nobody asked for"),
    ("pinned", lambda p: cell(p, memory_kib=195236 * MIB), "pages", "more memory than the cell has free"),
    ("floating in a cell", lambda p: cell(p, memory_kib=195236 * MIB), "overcommit", "more memory than the ratio"),
    ("pinned", lambda p: whole(p, mempolicy=None), "mempolicy", "cells without a memory policy"),
    ("no wishes", lambda p: whole(p, mempolicy=MemPolicy.STRICT), "mempolicy", "a memory policy without cells"),
    ("no wishes", lambda p: whole(p, emulator=CpuSet([5])), "emulator", "floating over a dedicated pCPU"),
]


@pytest.mark.parametrize(("name", "spoil", "rule", "why"), SPOILT, ids=[row[3] for row in SPOILT])
def test_each_spoilt_placement_is_caught(name: str, spoil: Any, rule: str, why: str) -> None:
    topology, usage, request, limits, placement = RIGHT[name]
    broken = broken_rules(topology, usage, request, limits, spoil(placement))
    assert rule in {sentence.split(":")[0] for sentence in broken}, f"{why}: {broken}"


def test_too_many_floating_vcpus_are_caught() -> None:
    topology, _, request, limits, placement = RIGHT["floating in a cell"]
    usage = Usage((CellUsage(0, floating_vcpus=13),))
    assert any("overcommit" in sentence for sentence in broken_rules(topology, usage, request, limits, placement))


def test_every_rule_is_exercised() -> None:
    assert {row[2] for row in SPOILT} == {rule.__name__ for rule in RULES}
