"""Placements of the golden files: one a row, with what it shows."""

from dataclasses import dataclass

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.placement import (
    BandwidthShare,
    CacheShare,
    CpuTopology,
    CpuTune,
    PlacedCell,
    PlacedDevice,
    Placement,
    Schedule,
    Schedules,
)
from agent.core.policy import CpuPolicy, MemPolicy


@dataclass(frozen=True)
class Case:
    shows: str
    placement: Placement
    template: str = "plain"
    virt_type: str = "qemu"
    disk: str | None = None


def cpus(text: str) -> CpuSet:
    return CpuSet.parse(text)


def cell(
    guest_cell: int,
    host_cell: int,
    pins: dict[int, str],
    *,
    memory_kib: int = 2 << 20,
    page_kib: int | None = None,
    policy: CpuPolicy = CpuPolicy.DEDICATED,
    dedicated: CpuSet | None = None,
    distances: dict[int, int] | None = None,
) -> PlacedCell:
    """A guest cell from its pins."""
    return PlacedCell(
        guest_cell=guest_cell,
        host_cell=host_cell,
        vcpus=CpuSet(pins),
        memory_kib=memory_kib,
        page_kib=page_kib,
        policy=policy,
        pins={vcpu: cpus(text) for vcpu, text in pins.items()},
        dedicated=dedicated,
        distances=distances or {},
    )


def guest(*cells: PlacedCell, emulator: str, **other: object) -> Placement:
    """A placement whose sizes are the sums over its cells."""
    vcpus = sum(len(each.vcpus) for each in cells)
    facts: dict[str, object] = {
        "host": "osdev-01",
        "name": "cw-golden",
        "flavor": "machine.cpu",
        "vcpus": vcpus,
        "memory_kib": sum(each.memory_kib for each in cells),
        "cells": cells,
        "emulator": cpus(emulator),
        "cpu_topology": CpuTopology(vcpus, 1, 1),
    }
    return Placement(**{**facts, **other})  # type: ignore[arg-type]  # as msgspec checks below


CELL_0 = "0-17,36-53"
PAIRS = {0: "0", 1: "36", 2: "1", 3: "37"}

CASES = {
    "floating": Case(
        "no wishes: floats over the whole shared set, no pins, no numatune",
        guest(emulator="0-71", vcpus=2, memory_kib=65536, cpu_topology=CpuTopology(2, 1, 1)),
        template="tiny",
    ),
    "floating-on-a-cell": Case(
        "hw:numa_nodes=1, shared: vCPUs and emulator on all pCPUs of the cell, memory from it",
        guest(cell(0, 0, {0: CELL_0, 1: CELL_0}, memory_kib=65536, policy=CpuPolicy.SHARED), emulator=CELL_0),
        template="tiny",
    ),
    "dedicated": Case(
        "four vCPUs on two whole cores, the emulator on the union of them, a disk on its own I/O thread",
        guest(cell(0, 0, PAIRS), emulator="0-1,36-37", iothreads={1: cpus("0-1,36-37")}),
        disk="/var/lib/libvirt/images/cw-golden.qcow2",
    ),
    "kvm": Case("the same for KVM: the host's CPU model", guest(cell(0, 0, PAIRS), emulator="0-1"), virt_type="kvm"),
    "isolate": Case(
        "one core a vCPU, siblings kept idle, the emulator on a pCPU of its own",
        guest(cell(0, 1, {0: "18", 1: "19"}), emulator="20", reserved=cpus("20,54-56")),
    ),
    "mixed": Case(
        "one dedicated and two floating vCPUs",
        guest(cell(0, 0, {0: "4", 1: "0-3", 2: "0-3"}, policy=CpuPolicy.MIXED, dedicated=cpus("0")), emulator="0-3"),
    ),
    "two-cells": Case(
        "two guest cells on cells 1 and 0, with distances and 2 MiB pages, so shared memory",
        guest(
            cell(0, 1, {0: "18", 1: "54"}, page_kib=2048, distances={0: 10, 1: 21}),
            cell(1, 0, {2: "0", 3: "36"}, page_kib=2048, distances={0: 21, 1: 10}),
            emulator="0,18,36,54",
            cpu_topology=CpuTopology(2, 1, 2),
        ),
    ),
    "page-sizes": Case(
        "1 GiB pages in one cell, small ones in the other: both are shared memory",
        guest(
            cell(0, 0, {0: "0"}, page_kib=1048576),
            cell(1, 1, {1: "18"}, page_kib=4),
            emulator="0,18",
            mempolicy=MemPolicy.RESTRICTIVE,
        ),
    ),
    "small-pages": Case(
        "4 KiB pages asked for by name: no huge pages; memory is only preferred there",
        guest(cell(0, 0, PAIRS, page_kib=4), emulator="0", mempolicy=MemPolicy.PREFERRED),
    ),
    "interleave": Case(
        "memory interleaved, weight and bandwidth as asked, pages locked",
        guest(
            cell(0, 0, PAIRS),
            emulator="0",
            mempolicy=MemPolicy.INTERLEAVE,
            tune=CpuTune(shares=512, period_us=100000, quota_us=-1),
            locked=True,
        ),
    ),
    "realtime": Case(
        "a batch vCPU, one under fifo and one under rr, I/O threads with odd ids and the emulator under fifo",
        guest(
            cell(0, 0, {0: "4", 1: "40", 2: "5"}, page_kib=2048),
            emulator="4",
            iothreads={2: cpus("6"), 5: cpus("6")},
            realtime=cpus("1-2"),
            schedules=Schedules(
                vcpus={0: Schedule("batch"), 2: Schedule("rr", 2)},
                iothreads=dict.fromkeys((2, 5), Schedule("fifo", 3)),
                emulator=Schedule("fifo", 4),
            ),
        ),
        template="realtime",
    ),
    "realtime-kvm": Case(
        "the same template as KVM has it",
        guest(cell(0, 0, PAIRS), emulator="8", realtime=cpus("1-3")),
        template="realtime",
        virt_type="kvm",
    ),
    "dpdk": Case(
        "vhost-user on shared huge pages",
        guest(cell(0, 0, PAIRS, page_kib=1048576), emulator="8"),
        template="dpdk",
    ),
    "cache": Case(
        "parts of the L3 cache and of the memory bandwidth, code and data apart for two vCPUs",
        guest(
            cell(0, 0, PAIRS),
            emulator="0",
            cache_shares=(
                CacheShare(cpus("0-1"), 0, 4096),
                CacheShare(cpus("2-3"), 0, 2048, type="code"),
                CacheShare(cpus("2-3"), 0, 1024, type="data"),
            ),
            bandwidth_shares=(BandwidthShare(cpus("0-1"), 0, 60), BandwidthShare(cpus("2-3"), 0, 20)),
        ),
        virt_type="kvm",
    ),
    "devices": Case(
        "two devices behind the buses of their cells, one on a cell without guest memory, one that knows no cell",
        guest(
            cell(0, 1, {0: "18"}),
            cell(1, 0, {1: "0"}),
            emulator="0",
            devices=(
                PlacedDevice("0000:3b:00.0", 0),
                PlacedDevice("0000:3b:00.1", 0),
                PlacedDevice("0000:af:00.0", 1),
                PlacedDevice("0000:d8:00.0", 3),
                PlacedDevice("0001:02:03.4", None),
            ),
        ),
    ),
}


def renamed(placement: Placement, name: str) -> Placement:
    return msgspec.structs.replace(placement, name=name)
