"""The guest ``db`` on a host of 16 pCPUs and two cells: its placement, and the observation in which all is well."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.observation import HostObservation, ObservedGuest
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy
from agent.core.verdict import GuestVerdict
from agent.inspection.files import Root
from agent.inspection.process import read_guest
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host
from tests.inspection.qemu import PID, qemu
from tests.inspection.trees import write


def cell(number: int, host_cell: int, pins: dict[int, str], *, page_kib: int | None = None) -> PlacedCell:
    return PlacedCell(
        guest_cell=number,
        host_cell=host_cell,
        vcpus=CpuSet(pins),
        memory_kib=1 << 20,
        page_kib=page_kib,
        policy=CpuPolicy.DEDICATED,
        pins={vcpu: CpuSet.parse(cpus) for vcpu, cpus in pins.items()},
    )


DB = Placement(
    host="osdev-01",
    name="db",
    vcpus=2,
    memory_kib=2 << 20,
    cells=(cell(0, 0, {0: "4"}), cell(1, 1, {1: "12"})),
    emulator=CpuSet.parse("0-3"),
    iothreads={1: CpuSet([2])},
    mempolicy=None,
    cpu_topology=CpuTopology(1, 2, 1),
)
"""The saved process has 0.4 % of guest cell 1 on the wrong host cell: a finding when strict."""


def observed(version: int = 2, files: Mapping[str, str | bytes] | None = None, **changes: Any) -> ObservedGuest:
    """The saved process, read; ``files`` are written over the recorded ones."""
    with tempfile.TemporaryDirectory() as folder:
        tree = write(Path(folder), {**qemu(version), **(files or {})})
        guest = read_guest(Root(str(tree)), "db", PID)
    return msgspec.structs.replace(guest, **changes)


def host(*guests: ObservedGuest, **changes: Any) -> HostObservation:
    seen = HostObservation(
        hostname="osdev-01", online=CpuSet.parse("0-15"), present=CpuSet.parse("0-15"), guests=guests
    )
    return msgspec.structs.replace(seen, **changes)


def verdict_of(
    guest: ObservedGuest, wanted: Placement = DB, *, seen: HostObservation | None = None, **how: Any
) -> GuestVerdict:
    """The one guest's verdict."""
    configured, plugged = how.pop("configured", wanted), how.pop("plugged", None)
    expectations = {"db": Expectation(placement=wanted, configured=configured, plugged=plugged)}
    return check_host(expectations, seen or host(guest), **how).guests[0]


def codes(verdict: GuestVerdict) -> list[str]:
    return [finding.code for finding in verdict.findings]
