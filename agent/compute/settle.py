"""The threads that libvirt's pin calls forget: monitor, workers, migration, display, vhost, and whatever QEMU adds.

libvirt sets the affinity of QEMU's main thread and narrows the cgroup of the others.  A thread that inherited an older
mask keeps it as its wish (since Linux 6.2, commit da019032819a), so widening or moving the cgroup does not bring it
along.  Each thread that is not where its placement wants it is told so itself.
"""

from __future__ import annotations

import os

import msgspec

from agent.compute.driver import Driver
from agent.compute.prove import verify_host
from agent.core.cpuset import CpuSet
from agent.core.observation import Role

LIBVIRTS = (Role.VCPU, Role.IOTHREAD)
"""Threads that libvirt's own calls pin, each by its number."""


class Settled(msgspec.Struct, frozen=True):
    """One thread that was told its mask; ``why_not`` says why the kernel refused, "" when it took it."""

    tid: int
    thread: str
    before: CpuSet | None
    after: CpuSet
    why_not: str = ""


def settle_threads(libvirt: Driver, name: str, *, helpers: CpuSet | None = None) -> tuple[Settled, ...]:
    """Give every thread of a running guest that is elsewhere the mask that its placement has for it.

    ``helpers`` is for threads that nothing has a mask for: those of a guest that is no longer ours, say.
    """
    if libvirt.domain(name).pid is None:
        return ()
    guests = verify_host(libvirt, names=[name], quick=True).guests
    done = []
    for thread in (thread for guest in guests for thread in guest.threads):
        wanted = thread.expected if thread.expected is not None or thread.role in LIBVIRTS else helpers
        if thread.ok or not wanted or thread.actual in (None, wanted):
            continue
        why_not = _set_mask(thread.tid, wanted)
        done.append(Settled(thread.tid, f"{thread.role} {thread.name}", thread.actual, wanted, why_not))
    return tuple(done)


def _set_mask(tid: int, cpus: CpuSet) -> str:
    try:
        os.sched_setaffinity(tid, cpus)
    except ProcessLookupError:
        return ""  # a worker that has ended since
    except OSError as why:
        return why.strerror or str(why)
    return ""
