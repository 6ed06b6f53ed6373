"""What was seen on a host: a guest's threads, cgroups and memory, its neighbours, interrupts, and when.

An observation is plain facts, read in one go by ``inspection``; ``verification`` judges it.  ``None`` means that a fact
was not read, and then some ``not_checked`` says why; it never means "fine".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from agent.core.cpuset import CpuSet


class Role(StrEnum):
    """What a thread of a QEMU process does; the placement has a mask for each of the first three."""

    VCPU = "vcpu"
    IOTHREAD = "iothread"
    EMULATOR = "emulator"
    MONITOR = "monitor"
    WORKER = "worker"
    RCU = "rcu"
    MIGRATION = "migration"
    PREALLOC = "prealloc"
    DISPLAY = "display"
    VHOST = "vhost"
    KERNEL = "kernel"
    OTHER = "other"


class Cgroup(msgspec.Struct, frozen=True):
    """The cpuset of one cgroup: what was configured, and what its parents leave of it.

    An empty ``cpus`` in version 2 means "as the parent"; ``path`` is the one of /proc/PID/cgroup.
    """

    path: str
    version: int
    cpus: CpuSet | None = None
    effective: CpuSet | None = None
    mems: CpuSet | None = None


class ObservedThread(msgspec.Struct, frozen=True, kw_only=True):
    """One thread: its role, the pCPUs and cells it may use, where it last ran, and how it is scheduled.

    ``number`` is the vCPU or I/O thread number; ``wait_ns`` is the time it was runnable and had to wait, since its
    start; ``scheduler`` is ``other``, ``fifo``, ``rr``, ``batch``, ``idle`` or ``deadline``.
    """

    tid: int
    name: str
    role: Role
    number: int | None = None
    allowed: CpuSet | None = None
    mems: CpuSet | None = None
    last_cpu: int | None = None
    scheduler: str | None = None
    priority: int | None = None
    wait_ns: int | None = None
    cgroup: str | None = None
    not_checked: tuple[str, ...] = ()


class CellPages(msgspec.Struct, frozen=True):
    """How many resident pages of one size are on one host cell."""

    host_cell: int
    page_kib: int
    pages: int


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """One line of numa_maps: where, under which memory policy, what is mapped, and its resident pages by host cell.

    Counts are pages of ``page_kib``, which is None while nothing is resident; ``what`` is the file, ``heap``, ``stack``
    or ``anonymous``.
    """

    address: int
    policy: str
    what: str
    huge: bool = False
    page_kib: int | None = None
    pages: dict[int, int] = {}


class PageSums(msgspec.Struct, frozen=True, kw_only=True):
    """A whole numa_maps in sums: pages by host cell and page size; anon, dirty, … in KiB; mapmax is the largest."""

    cells: tuple[CellPages, ...] = ()
    anon_kib: int = 0
    dirty_kib: int = 0
    mapped_kib: int = 0
    swapcache_kib: int = 0
    active_kib: int = 0
    writeback_kib: int = 0
    mapmax: int = 0


class RamBackend(msgspec.Struct, frozen=True, kw_only=True):
    """One block of guest RAM as the QEMU command line asks for it; ``guest_cell`` is None for a guest without cells."""

    id: str
    size_kib: int
    guest_cell: int | None = None
    policy: str | None = None
    host_cells: CpuSet = CpuSet()
    path: str | None = None


class GuestRam(msgspec.Struct, frozen=True, kw_only=True):
    """One block of guest RAM and its resident pages by host cell and page size.

    ``identified_by`` says how sure it is that these areas are this block: ``file`` (its file carries the block's name),
    ``size and policy``, ``size``, or ``order`` (several blocks are alike and were told apart by QEMU's order of
    allocation, which is a guess).  It is None when the block was not found, and then nothing about its pages is known.
    ``policies`` are the memory policies of its areas, as numa_maps writes them.
    """

    backend: RamBackend
    identified_by: str | None = None
    addresses: tuple[int, ...] = ()
    pages: tuple[CellPages, ...] = ()
    policies: tuple[str, ...] = ()


class ObservedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one QEMU process: sums of everything, guest RAM block by block, and every area with pages."""

    sums: PageSums
    ram: tuple[GuestRam, ...] = ()
    areas: tuple[Area, ...] = ()


class ObservedGuest(msgspec.Struct, frozen=True, kw_only=True):
    """One running guest: its process, threads, the cgroups they are in (parents too), and its memory if it was read."""

    name: str
    pid: int | None = None
    uuid: str | None = None
    state: str = "running"
    threads: tuple[ObservedThread, ...] = ()
    cgroups: tuple[Cgroup, ...] = ()
    memory: ObservedMemory | None = None
    not_checked: tuple[str, ...] = ()

    def cgroup(self, path: str | None) -> Cgroup | None:
        """The cgroup of that path, if it was read."""
        return next((one for one in self.cgroups if one.path == path), None)


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A thread of the host that is no guest's: where it may run, and where it last ran."""

    pid: int
    tid: int
    name: str
    allowed: CpuSet
    last_cpu: int | None = None
    kernel: bool = False


class ObservedIrq(msgspec.Struct, frozen=True, kw_only=True):
    """One interrupt: the pCPUs that may get it, those that really do, and how often each did since boot."""

    number: int
    name: str
    allowed: CpuSet | None = None
    effective: CpuSet | None = None
    counts: dict[int, int] = {}


class HostObservation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was read of a host at one time; neighbours and interrupts are None when they were not read."""

    hostname: str
    kernel: str | None = None
    collected_at: str | None = None
    online: CpuSet
    present: CpuSet = CpuSet()
    isolated: CpuSet = CpuSet()
    guests: tuple[ObservedGuest, ...] = ()
    neighbours: tuple[Neighbour, ...] | None = None
    irqs: tuple[ObservedIrq, ...] | None = None
    irqbalance: bool = False
    not_checked: tuple[str, ...] = ()
