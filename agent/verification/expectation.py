"""What every thread of a guest should be allowed, from its placement."""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedThread, Role
from agent.core.placement import Placement


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest is compared with.

    ``placement`` is the intent that was stored when the guest was placed; for a foreign guest it is what its own XML
    asks for, and ``foreign`` is true.  ``configured`` is what libvirt's live XML asks for now: it differs from the
    intent when somebody used virsh.  ``next_start`` is what its persistent configuration asks for, where it was read.
    ``plugged`` are the vCPUs that the guest has now, where it could have more; None for all.
    """

    placement: Placement
    foreign: bool = False
    configured: Placement | None = None
    next_start: Placement | None = None
    plugged: CpuSet | None = None


def expect_mask(wanted: Placement, thread: ObservedThread) -> CpuSet | None:
    """The pCPUs that a thread should be allowed; None when the placement has no wish for it.

    vCPUs and I/O threads have their own masks.  A worker born in an I/O thread keeps that thread's mask.  Everything
    else (monitor, migration, display, vhost, names nobody knows) goes where the emulator goes, as with libvirt.
    """
    if thread.role is Role.KERNEL:
        return None
    mask = wanted.emulator
    if thread.role is Role.VCPU:
        mask = _vcpu_mask(wanted, thread.number)
    elif thread.number is not None:
        mask = wanted.iothreads.get(thread.number, wanted.emulator)
    return mask or None


def expect_scheduler(wanted: Placement, thread: ObservedThread) -> tuple[str, int] | None:
    """Scheduler class and priority that a thread should have; None where either is right.

    libvirt's ``emulatorsched`` sets QEMU's main thread alone, once, and a new thread inherits from the one that makes
    it: so a helper may have the class of its main or I/O thread, or none, as it was made after or before.
    """
    if thread.role in (Role.KERNEL, Role.VHOST):
        return None
    if thread.role is Role.VCPU:
        schedule, inherited = wanted.vcpu_schedule(thread.number), False
    elif thread.number is not None:
        schedule, inherited = wanted.schedules.iothreads.get(thread.number), thread.role is not Role.IOTHREAD
    else:
        schedule, inherited = wanted.schedules.emulator, thread.role is not Role.EMULATOR
    if schedule is None:
        return "other", 0
    return None if inherited else (schedule.scheduler, schedule.priority)


def _vcpu_mask(wanted: Placement, number: int | None) -> CpuSet:
    """One vCPU's mask; all vCPUs' together when one thread runs them all (``number`` None)."""
    masks = [mask for cell in wanted.cells for vcpu, mask in cell.pins.items() if number in (None, vcpu)]
    if not masks:
        return wanted.emulator
    together = CpuSet()
    for mask in masks:
        together = together | mask
    return together
