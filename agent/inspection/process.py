"""One QEMU process, and who else is on its pCPUs: threads, cgroups, memory, kernel helpers, the host's own threads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup, Neighbour, ObservedGuest, ObservedMemory, ObservedThread, Role
from agent.inspection.cgroup import parents, parse_cgroups, read_cgroup
from agent.inspection.files import Root
from agent.inspection.guest_ram import match_ram, parse_maps, parse_ram
from agent.inspection.numa_maps import parse_numa_maps, read_numa_maps, sum_numa_maps
from agent.inspection.threads import parse_stat, parse_status, read_thread, read_threads

BOUND = 0x04000000
"""PF_NO_SETAFFINITY (include/linux/sched.h): a kernel thread that belongs to its pCPU and can't be moved."""
KERNEL_THREAD = 0x00200000
"""PF_KTHREAD."""

_HELPER = re.compile(r"(?:vhost-|kvm-pit/|kvm-nx-lpage-recovery-)(\d+)")


def read_guest(
    root: Root,
    name: str,
    pid: int | None,
    *,
    memory: bool = True,
    uuid: str | None = None,
    state: str = "running",
    helpers: dict[int, list[int]] | None = None,
) -> ObservedGuest:
    """Everything about one running guest.  Without ``memory`` its page tables are left alone.

    ``helpers`` are the kernel threads that serve it (see ``read_helpers``).  What could not be read is said in
    ``not_checked``; a guest whose process is gone has no threads, and says that.
    """
    threads = read_threads(root, pid) if pid is not None else None
    if pid is None or threads is None:
        why = "its QEMU process is not known" if pid is None else f"its process {pid} is gone"
        return ObservedGuest(name=name, pid=pid, uuid=uuid, state=state, not_checked=(why,))
    for helper in (helpers or {}).get(pid, []):
        threads = (*threads, _as_helper(read_thread(root, helper, helper)))
    guest = ObservedGuest(
        name=name,
        pid=pid,
        uuid=uuid,
        state=state,
        threads=threads,
        cgroups=read_cgroups(root, pid, threads),
        not_checked=tuple(why for thread in threads for why in thread.not_checked),
    )
    return with_memory(root, guest) if memory else guest


def with_memory(root: Root, guest: ObservedGuest) -> ObservedGuest:
    """A guest that was read without its memory, and with it; one that has no process stays as it is."""
    if guest.pid is None or not guest.threads:
        return guest
    import msgspec

    seen = read_memory(root, guest.pid)
    if seen is None:
        not_checked = (*guest.not_checked, _why_no_memory(root, guest.pid))
        return msgspec.structs.replace(guest, not_checked=not_checked)
    return msgspec.structs.replace(guest, memory=seen)


def read_memory(root: Root, pid: int) -> ObservedMemory | None:
    """The process's memory by host cell; None when it may not be read.  It walks the page tables: see numa_maps."""
    data = read_numa_maps(root, pid)
    maps = root.read(f"proc/{pid}/maps")
    command_line = root.read(f"proc/{pid}/cmdline")
    if not data or not maps or not command_line:
        return None
    areas = parse_numa_maps(data)
    ram = match_ram(parse_ram(command_line), parse_maps(maps), areas)
    return ObservedMemory(sums=sum_numa_maps(data), ram=ram, areas=tuple(area for area in areas if area.pages))


def read_cgroups(root: Root, pid: int, threads: Iterable[ObservedThread]) -> tuple[Cgroup, ...]:
    """The cpusets of the cgroups that the threads are in, and of all cgroups above them, by path."""
    found = root.parsed(f"proc/{pid}/cgroup", parse_cgroups)
    if found is None:
        return ()
    paths = {above for thread in threads if thread.cgroup for above in parents(thread.cgroup)}
    read = (read_cgroup(root, found[0], path) for path in sorted(paths))
    return tuple(cgroup for cgroup in read if cgroup is not None)


def read_helpers(root: Root) -> dict[int, list[int]]:
    """QEMU pid → the kernel threads that serve it: vhost (before Linux 6.4), the PIT, huge-page recovery."""
    helpers: dict[int, list[int]] = {}
    for pid in _pids(root):
        name = root.line(f"proc/{pid}/comm")
        if name and (found := _HELPER.fullmatch(name)):
            helpers.setdefault(int(found[1]), []).append(pid)
    return helpers


def read_neighbours(root: Root, *, without: Iterable[int] = ()) -> tuple[Neighbour, ...]:
    """Every thread of the host except those of the processes in ``without`` and per-pCPU kernel threads, by tid."""
    guests = frozenset(without)
    found = []
    for pid in _pids(root):
        if pid in guests:
            continue
        for tid in sorted(int(name) for name in root.names(f"proc/{pid}/task") or () if name.isdecimal()):
            stat = root.parsed(f"proc/{pid}/task/{tid}/stat", parse_stat)
            if stat is None or stat.flags & BOUND:
                continue
            status = root.parsed(f"proc/{pid}/task/{tid}/status", parse_status)
            if status is None:
                continue
            kernel = bool(stat.flags & KERNEL_THREAD)
            found.append(
                Neighbour(
                    pid=pid, tid=tid, name=status.name, allowed=status.allowed, last_cpu=stat.last_cpu, kernel=kernel
                )
            )
    return tuple(found)


def read_command_line(root: Root, pid: int) -> list[str]:
    """The words a process was started with; none when it is gone, or belongs to the kernel."""
    data = root.read(f"proc/{pid}/cmdline") or b""
    return data.rstrip(b"\0").decode("utf-8", "replace").split("\0") if data else []


def has_process(root: Root, name: str) -> bool:
    """Whether a process of that name runs."""
    return any(root.line(f"proc/{pid}/comm") == name for pid in _pids(root))


def read_cpus(root: Root) -> tuple[CpuSet, CpuSet, CpuSet]:
    """The host's online, present and isolated pCPUs."""
    folder = "sys/devices/system/cpu"
    online, present, isolated = (
        root.parsed(f"{folder}/{name}", CpuSet.parse) or CpuSet() for name in ("online", "present", "isolated")
    )
    return online, present, isolated


def _pids(root: Root) -> list[int]:
    return sorted(int(name) for name in root.names("proc") or () if name.isdecimal())


def _as_helper(thread: ObservedThread) -> ObservedThread:
    if thread.role in (Role.VHOST, Role.KERNEL):
        return thread
    import msgspec

    return msgspec.structs.replace(thread, role=Role.VHOST if thread.name.startswith("vhost-") else Role.KERNEL)


def _why_no_memory(root: Root, pid: int) -> str:
    names = root.names(f"proc/{pid}")
    if names is None:
        return f"memory: process {pid} ended while it was read"
    if "numa_maps" not in names:
        return "memory: this kernel has no numa_maps (CONFIG_NUMA is off)"
    return f"memory: no permission to read numa_maps of process {pid}"
