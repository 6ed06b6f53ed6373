"""Whether a running guest would come back where it was placed: its configuration against the intent."""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.verdict import Finding
from agent.verification.expectation import Expectation

SHOWN = 4
"""Differences in one message."""


def find_next_start(name: str, expectation: Expectation) -> list[Finding]:
    """A notice when the next start would use other pCPUs or cells than the guest was placed on.

    It is what ``pin --live`` leaves behind, and what ``virsh edit`` or ``virsh vcpupin --config`` do.
    """
    if expectation.foreign or expectation.next_start is None:
        return []
    wanted, found = _facts(expectation.placement), _facts(_as_placed(expectation.next_start, expectation.placement))
    differ = [what for what in wanted | found if wanted.get(what) != found.get(what)]
    if not differ:
        return []
    parts = [f"{what}: {found.get(what, 'anywhere')}, placed on {wanted.get(what, 'anything')}" for what in differ]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    message = f"its next start would be different: {'; '.join(parts[:SHOWN])}{more}"
    return [Finding(code="next-start-differs", message=message, guest=name)]


def _as_placed(found: Placement, wanted: Placement) -> Placement:
    """``found`` without the guest's own pCPUs that its emulator is given for the start, so that QEMU can allocate."""
    own = CpuSet(cpu for cell in wanted.cells for cpus in cell.pins.values() for cpu in cpus)
    if wanted.emulator and wanted.emulator <= found.emulator <= wanted.emulator | own:
        return msgspec.structs.replace(found, emulator=wanted.emulator)
    return found


def _facts(placement: Placement) -> dict[str, str]:
    """Thread or guest cell → its pCPUs or host cell, for all that are bound."""
    pins = {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}
    facts = {f"vCPU {vcpu}": cpus for vcpu, cpus in sorted(pins.items())}
    facts["emulator"] = placement.emulator
    unpinned = CpuSet() if placement.cells else placement.emulator
    facts |= {f"I/O thread {number}": cpus or unpinned for number, cpus in sorted(placement.iothreads.items())}
    facts["real-time vCPUs"] = placement.realtime
    said = {what: str(cpus) for what, cpus in facts.items() if cpus}
    return said | {f"memory of guest cell {cell.guest_cell}": f"cell {cell.host_cell}" for cell in placement.cells}
