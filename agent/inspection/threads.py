"""The threads of one process: name, role, masks, last pCPU, scheduling, cgroup.

Files below /proc/PID/task/TID (Documentation/filesystems/proc.rst; proc(5)): ``status``, ``stat``, ``schedstat`` and
``cgroup``.  QEMU names its threads when it runs with ``debug-threads=on``, as libvirt always has it; libvirt's cgroups
``vcpuN`` and ``iothreadN`` tell the same where a name does not.
"""

from __future__ import annotations

import re

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.observation import ObservedThread, Role
from agent.inspection.cgroup import parse_cgroups
from agent.inspection.files import Root
from agent.inspection.values import is_number

READINGS = 3
"""How often the threads of a process are read before one that ends meanwhile is given up."""

SCHEDULERS = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
"""Scheduling policies by number (include/uapi/linux/sched.h)."""

_STATUS = re.compile(r"^(Name|Kthread|Cpus_allowed_list|Mems_allowed_list):[ \t]*(.*)$", re.MULTILINE)
_VCPU = re.compile(r"CPU (\d+)/[A-Z]+")
_IOTHREAD = re.compile(r"IO iothread(\d+)")
_LEAF = re.compile(r"/(vcpu|iothread)(\d+)$")
_NAMED = (
    (re.compile(r"IO mon_iothread"), Role.MONITOR),
    (re.compile(r"worker|pool-.*"), Role.WORKER),
    (re.compile(r"call_rcu"), Role.RCU),
    (re.compile(r"live_migration|multifd.*|mig/.*|postcopy.*|return path|bg_snapshot|COLO.*|colo.*"), Role.MIGRATION),
    (re.compile(r"TC .*|touch_pages"), Role.PREALLOC),
    (re.compile(r"SPICE.*|vnc_worker|gmain|gdbus|dconf worker"), Role.DISPLAY),
    (re.compile(r"vhost-\d+.*"), Role.VHOST),
    (re.compile(r"kvm-.*"), Role.KERNEL),
)


class Status(msgspec.Struct, frozen=True):
    """What ``status`` tells: the thread's name, the pCPUs and cells it may use, and whether the kernel owns it."""

    name: str
    allowed: CpuSet
    mems: CpuSet
    kernel: bool


class Stat(msgspec.Struct, frozen=True):
    """What ``stat`` tells: kernel flags, the pCPU it last ran on, real-time priority, scheduling policy."""

    flags: int
    last_cpu: int
    priority: int
    scheduler: str


def parse_status(text: str) -> Status:
    """``/proc/PID/status``; BadInput when the mask is missing.  Without NUMA there is no ``Mems_allowed_list``."""
    fields = dict(_STATUS.findall(text))  # four of sixty lines, in every thread of every guest
    if "Cpus_allowed_list" not in fields:
        raise BadInput("no Cpus_allowed_list in it")
    return Status(
        name=fields.get("Name", "").strip(),
        allowed=CpuSet.parse(fields["Cpus_allowed_list"]),
        mems=CpuSet.parse(fields.get("Mems_allowed_list", "")),
        kernel=fields.get("Kthread", "").strip() == "1",
    )


def parse_stat(text: str) -> Stat:
    """``/proc/PID/stat``, whose second field, the name in brackets, may hold blanks and brackets itself."""
    fields = text.rpartition(")")[2].split()
    try:
        policy = int(fields[38])
        return Stat(int(fields[6]), int(fields[36]), int(fields[37]), SCHEDULERS.get(policy, str(policy)))
    except (IndexError, ValueError) as why:
        raise BadInput(f"{text[:60]!r} has no 41 fields with numbers") from why


def parse_schedstat(text: str) -> int:
    """Nanoseconds a thread was runnable and waited for a pCPU, the second number of ``schedstat``."""
    fields = text.split()
    if len(fields) < 2 or not is_number(fields[1]):
        raise BadInput(f"{text[:60]!r}; expected three numbers")
    return int(fields[1])


def find_role(name: str, *, main: bool, cgroup: str | None = None) -> tuple[Role, int | None]:
    """Role and number of a QEMU thread from its name; from libvirt's cgroup where the name is the program's.

    ``main`` is true for the thread whose tid is the pid.  A worker keeps its role and takes the number of the I/O
    thread in whose cgroup it was born.
    """
    if found := _VCPU.fullmatch(name):
        return Role.VCPU, int(found[1])
    if found := _IOTHREAD.fullmatch(name):
        return Role.IOTHREAD, int(found[1])
    if main:
        return Role.EMULATOR, None
    leaf = _LEAF.search(cgroup or "")
    for pattern, role in _NAMED:
        if pattern.fullmatch(name):
            return role, int(leaf[2]) if leaf and leaf[1] == "iothread" else None
    if leaf:
        return Role(leaf[1]), int(leaf[2])
    return Role.VCPU if name.startswith("ALL CPUs/") else Role.OTHER, None


def read_threads(root: Root, pid: int) -> tuple[ObservedThread, ...] | None:
    """Every thread of the process, by tid; None when there is no such process (any more).

    When one ends while it is read, all are read again: workers come and go.  What is left after that is in
    ``not_checked`` of the thread, as everything that could not be read.
    """
    for _ in range(READINGS):
        names = root.names(f"proc/{pid}/task")
        if names is None:
            return None
        tids = sorted(int(name) for name in names if name.isdecimal())
        threads = tuple(read_thread(root, pid, tid) for tid in tids)
        if not any(_ended(thread.tid) in thread.not_checked for thread in threads):
            break
    return threads


def read_thread(root: Root, pid: int, tid: int) -> ObservedThread:
    """One thread; what could not be read is None and said in ``not_checked``."""
    folder = f"proc/{pid}/task/{tid}"
    status = root.parsed(f"{folder}/status", parse_status)
    stat = root.parsed(f"{folder}/stat", parse_stat)
    in_cgroup = root.parsed(f"{folder}/cgroup", parse_cgroups)
    wait_ns = root.parsed(f"{folder}/schedstat", parse_schedstat)
    missing = [name for name, value in (("status", status), ("stat", stat), ("cgroup", in_cgroup)) if value is None]
    if missing and root.names(folder) is None:
        missing = [_ended(tid)]
    elif missing:
        missing = [f"{name} of thread {tid} could not be read" for name in missing]
    name = status.name if status else ""
    cgroup = in_cgroup[1] if in_cgroup else None
    role, number = find_role(name, main=pid == tid, cgroup=cgroup)
    return ObservedThread(
        tid=tid,
        name=name,
        role=role,
        number=number,
        allowed=status.allowed if status else None,
        mems=status.mems if status else None,
        last_cpu=stat.last_cpu if stat else None,
        scheduler=stat.scheduler if stat else None,
        priority=stat.priority if stat else None,
        wait_ns=wait_ns,
        cgroup=cgroup,
        not_checked=tuple(missing),
    )


def _ended(tid: int) -> str:
    return f"thread {tid} ended while it was read"
