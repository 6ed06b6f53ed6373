"""A placement as masks of a running guest's threads, and the changes between two sets of masks."""

from __future__ import annotations

import msgspec

from agent.compute.guest_state import Masks
from agent.core.cpuset import CpuSet
from agent.core.placement import Placement


class MaskChange(msgspec.Struct, frozen=True):
    """One thread's mask before and after; ``thread`` is ``vcpu 3``, ``emulator`` or ``iothread 1``."""

    thread: str
    before: CpuSet
    after: CpuSet


def masks_of(placement: Placement, threads: Masks) -> Masks:
    """The masks that a placement wants for the threads that a guest has.

    vCPUs of a guest that floats, and I/O threads that the placement does not name, go where the emulator goes; helper
    threads (monitor, workers, migration, vhost) inherit the emulator's mask from libvirt's emulator cgroup.  A thread
    that it names without a mask keeps the one it has, as ``expect_mask`` has no wish for it.
    """
    pins = {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}
    return Masks(
        vcpus={vcpu: pins.get(vcpu, placement.emulator) or now for vcpu, now in threads.vcpus.items()},
        emulator=placement.emulator or threads.emulator,
        iothreads={
            number: placement.iothreads.get(number, placement.emulator) or now
            for number, now in threads.iothreads.items()
        },
    )


def mask_changes(before: Masks, after: Masks) -> tuple[MaskChange, ...]:
    """Every thread whose mask differs, vCPUs first."""
    rows = [(f"vcpu {vcpu}", before.vcpus.get(vcpu), cpus) for vcpu, cpus in sorted(after.vcpus.items())]
    rows.append(("emulator", before.emulator, after.emulator))
    rows += [(f"iothread {n}", before.iothreads.get(n), cpus) for n, cpus in sorted(after.iothreads.items())]
    return tuple(MaskChange(thread, was, now) for thread, was, now in rows if was is not None and was != now)
