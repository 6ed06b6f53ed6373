"""The threads that libvirt's pin calls forget: monitor, workers, migration, display, vhost, and whatever QEMU adds.

libvirt sets the affinity of QEMU's main thread and narrows the cgroup of the others.  A thread that inherited an older
mask keeps it as its wish (since Linux 6.2, commit da019032819a), so widening or moving the cgroup does not bring it
along.  Each thread that is not where its placement wants it is told so itself.  Scheduling classes libvirt sets when a
guest starts and never again, so they are set here too.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agent.compute.driver import Driver
from agent.compute.kernel_state import set_class, set_mask
from agent.compute.prove import observe_threads
from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedThread, Role
from agent.core.placement import Placement
from agent.verification.expectation import expect_mask, expect_scheduler
from agent.verification.threads import describe, fits_class, fits_mask

LIBVIRTS = (Role.VCPU, Role.IOTHREAD)
"""Threads that libvirt's own calls pin, each by its number."""


class Settled(msgspec.Struct, frozen=True):
    """One thread that was told its mask or its class; ``why_not`` says why the kernel refused, "" when it took it."""

    tid: int
    thread: str
    before: str
    after: str
    why_not: str = ""


def settle_threads(libvirt: Driver, name: str, *, helpers: CpuSet | None = None) -> tuple[Settled, ...]:
    """Give every thread of a running guest the mask and the scheduling class that its placement has for it.

    ``helpers`` is for threads that nothing has a mask for: those of a guest that is no longer ours, say.
    """
    if libvirt.domain(name).pid is None:
        return ()
    observation, expectations = observe_threads(libvirt, [name])
    done: list[Settled] = []
    for guest in observation.guests:
        if guest.name == name:
            for thread in guest.threads:
                done += _settle(expectations[name].placement, thread, helpers)
    return tuple(done)


def _settle(wanted: Placement, thread: ObservedThread, helpers: CpuSet | None) -> Iterator[Settled]:
    who = describe(thread.role, thread.number, thread.tid, thread.name)
    cpus = expect_mask(wanted, thread)
    if cpus is None and thread.role not in LIBVIRTS:
        cpus = helpers
    if cpus and thread.allowed is not None and not fits_mask(thread.role, thread.allowed, cpus):
        yield Settled(thread.tid, who, str(thread.allowed), str(cpus), set_mask(thread.tid, cpus))
    expected = expect_scheduler(wanted, thread)
    if expected is None or thread.scheduler is None or thread.priority is None:
        return
    actual = thread.scheduler, thread.priority
    if not fits_class(actual, expected):
        before, after = (f"{scheduler} {priority}" for scheduler, priority in (actual, expected))
        yield Settled(thread.tid, who, before, after, set_class(thread.tid, *expected))
