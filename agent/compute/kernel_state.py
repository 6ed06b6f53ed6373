"""What the kernel holds of a running guest beside what libvirt keeps: each thread's mask and class, the cpusets.

Read before every change and written into the journal, so that what libvirt has no call for is put back too.
"""

from __future__ import annotations

import os
from errno import EBUSY, EROFS
from pathlib import Path

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.observation import Cgroup, ObservedThread, Role
from agent.inspection.cgroup import cpuset_file, is_guests_own
from agent.inspection.files import Root
from agent.inspection.process import read_guest, read_helpers

POLICIES = {
    "other": os.SCHED_OTHER,
    "fifo": os.SCHED_FIFO,
    "rr": os.SCHED_RR,
    "batch": os.SCHED_BATCH,
    "idle": os.SCHED_IDLE,
}
"""Classes that any thread can be given; ``deadline`` and ``ext`` need more than a priority, and no guest has them."""

NO_BUDGET = (
    "the kernel takes no real-time thread here: no CAP_SYS_NICE, or no real-time budget for the guest's cgroup, as with"
    " cgroup version 1 and CONFIG_RT_GROUP_SCHED"
)


class ThreadState(msgspec.Struct, frozen=True):
    """One thread's mask, scheduling class and priority; the name tells a thread id that was given anew."""

    tid: int
    name: str
    role: Role
    cpus: CpuSet
    scheduler: str
    priority: int


class KernelState(msgspec.Struct, frozen=True):
    """The threads of one QEMU process, and the cpusets that hold nobody else."""

    pid: int
    threads: tuple[ThreadState, ...] = ()
    cpusets: tuple[Cgroup, ...] = ()


def read_kernel_state(pid: int | None) -> KernelState | None:
    """The process as it is now; None when there is none."""
    if pid is None:
        return None
    root = Root()
    guest = read_guest(root, "", pid, memory=False, helpers=read_helpers(root))
    states = (_state(thread) for thread in guest.threads)
    own = tuple(one for one in guest.cgroups if is_guests_own(one.path))
    return KernelState(pid, tuple(state for state in states if state is not None), own)


def restore_kernel_state(before: KernelState, *, helpers: CpuSet) -> None:
    """Give every thread that is still there its mask and class of then, and every cpuset its pCPUs.

    A helper that was made since gets ``helpers``, the emulator's mask of then.  CellwrightError names the first thread
    that the kernel refuses.
    """
    now = read_kernel_state(before.pid)
    if now is None:
        return
    there = {one.path: one.cpus for one in now.cpusets}
    changed = [one for one in before.cpusets if one.cpus != there.get(one.path)]
    # an empty one is as its parent, and the kernel makes none empty again that has threads in it (version 2)
    write_cpusets({one.path: one.cpus or one.effective or CpuSet() for one in changed}, now.cpusets)
    known = {(thread.tid, thread.name): thread for thread in before.threads}
    for thread in now.threads:
        was = known.get((thread.tid, thread.name))
        cpus = was.cpus if was else thread.cpus if thread.role in (Role.VCPU, Role.IOTHREAD) else helpers
        why = set_mask(thread.tid, cpus) if cpus and cpus != thread.cpus else ""
        if was and (was.scheduler, was.priority) != (thread.scheduler, thread.priority):
            why = why or set_class(thread.tid, was.scheduler, was.priority)
        if why:
            raise CellwrightError(f"thread {thread.tid} ({thread.name}) cannot be put back to how it was: {why}")


def write_cpusets(wanted: dict[str, CpuSet], now: tuple[Cgroup, ...]) -> None:
    """Give each of these cgroups its pCPUs: widened from the top, then narrowed from the bottom.

    The kernel refuses a cgroup more than its parent has, and with version 1 less than its children have: one with such
    a child stays wide, which moves no thread.
    """
    differ = sorted((one for one in now if wanted.get(one.path) not in (None, one.cpus)), key=lambda one: len(one.path))
    for one in differ:
        _write(one, (one.cpus or CpuSet()) | wanted[one.path])
    for one in reversed(differ):
        _write(one, wanted[one.path])


def set_mask(tid: int, cpus: CpuSet) -> str:
    """Let a thread run on these pCPUs; "" when it does or has ended, else why the kernel refused."""
    try:
        os.sched_setaffinity(tid, cpus)
    except ProcessLookupError:
        return ""  # a worker that has ended since
    except OSError as why:
        return f"pCPUs {cpus}: {why.strerror or why}"
    return ""


def set_class(tid: int, scheduler: str, priority: int) -> str:
    """Schedule a thread so; "" when it is or has ended, else why the kernel refused."""
    if scheduler not in POLICIES:
        return f"class {scheduler} cannot be set from outside"
    try:
        os.sched_setscheduler(tid, POLICIES[scheduler], os.sched_param(priority))
    except ProcessLookupError:
        return ""
    except OSError as why:
        hint = f"; {NO_BUDGET}" if priority and isinstance(why, PermissionError) else ""
        return f"class {scheduler} {priority}: {why.strerror or why}{hint}"
    return ""


def _state(thread: ObservedThread) -> ThreadState | None:
    """None for what could not be read, and for helpers of the kernel that belong to no placement."""
    if thread.allowed is None or thread.scheduler is None or thread.role is Role.KERNEL:
        return None
    return ThreadState(thread.tid, thread.name, thread.role, thread.allowed, thread.scheduler, thread.priority or 0)


def _write(cgroup: Cgroup, cpus: CpuSet) -> None:
    path = cpuset_file(cgroup)
    try:
        Path(path).write_text(f"{cpus}\n")
    except FileNotFoundError:
        return  # libvirt took the cgroup away with its thread
    except OSError as why:
        if why.errno == EBUSY and cgroup.version == 1:
            return
        hint = "; a service with ProtectControlGroups=yes may not" if why.errno == EROFS else ""
        raise CellwrightError(f"{path}: {cpus} cannot be written: {why.strerror}{hint}") from why
