"""The Placement document (``cellwright.placement/1``): the decision, or why there is none."""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.policy import CpuPolicy, MemPolicy

SCHEMA = "cellwright.placement/1"


class PlacedCell(msgspec.Struct, frozen=True, kw_only=True):
    """One guest cell on one host cell.

    ``pins`` maps each vCPU to its pCPUs: one when dedicated, the host cell's shared pCPUs when floating.  ``page_kib``
    is the page size asked for, None when the request named none; ``pool_kib`` the size of the pages that hold the
    memory either way (None: the host told no pools); ``base_page_kib`` that of the host's ordinary pages, 64 on some
    ARM and POWER hosts.  ``dedicated`` holds the vCPUs that own their pCPU; None stands for all of a dedicated guest's
    and none of a floating one's.  ``reserved`` is this host cell's part of the placement's.  ``distances`` is what the
    guest is told: guest cell → ACPI distance (10 is itself); empty when it is told nothing.
    """

    guest_cell: int
    host_cell: int
    vcpus: CpuSet
    memory_kib: int
    page_kib: int | None = None
    pool_kib: int | None = None
    base_page_kib: int = 4
    policy: CpuPolicy
    pins: dict[int, CpuSet]
    dedicated: CpuSet | None = None
    reserved: CpuSet = CpuSet()
    distances: dict[int, int] = {}

    @property
    def huge(self) -> bool:
        """Whether the pages that were asked for come from a huge-page pool."""
        return self.page_kib is not None and self.page_kib > self.base_page_kib

    def owning(self) -> CpuSet:
        """The vCPUs that own the pCPU they are pinned to."""
        if self.dedicated is not None:
            return self.dedicated
        return self.vcpus if self.policy is CpuPolicy.DEDICATED else CpuSet()


class CpuTopology(msgspec.Struct, frozen=True):
    """What the guest sees: sockets × cores × threads = its vCPUs."""

    sockets: int
    cores: int
    threads: int


class CpuTune(msgspec.Struct, frozen=True):
    """``quota:cpu_shares``, ``quota:cpu_period`` and ``quota:cpu_quota`` (both microseconds); None when not asked.

    ``shares`` 0 stands for no weight at all, where libvirt has no cgroups to write it to.
    """

    shares: int | None = None
    period_us: int | None = None
    quota_us: int | None = None


class Priorities(msgspec.Struct, frozen=True):
    """SCHED_FIFO priorities (1-99) of the vCPUs in ``Placement.realtime``, all I/O threads, and the emulator threads.

    None leaves I/O and emulator threads under the normal scheduler.
    """

    vcpus: int = 1
    iothreads: int | None = None
    emulator: int | None = None


class CacheShare(msgspec.Struct, frozen=True):
    """A part of one host cache kept for vCPUs (resctrl): ``cache`` is its id, ``type`` is both, code or data."""

    vcpus: CpuSet
    cache: int
    size_kib: int
    level: int = 3
    type: Literal["both", "code", "data"] = "both"


class BandwidthShare(msgspec.Struct, frozen=True):
    """The memory bandwidth that vCPUs may use on a host cell, in percent (resctrl)."""

    vcpus: CpuSet
    host_cell: int
    percent: int


class PlacedDevice(msgspec.Struct, frozen=True):
    """A host PCI device given to the guest, and the host cell it sits on (None: the kernel does not know)."""

    pci: str
    host_cell: int | None
    name: str = ""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything of one guest goes.  With ``cells`` empty the guest floats over ``emulator``, the shared set.

    ``reserved`` holds pCPUs owned beside the pins: kept for the emulator, or idle siblings.  ``realtime`` holds the
    vCPUs that run under SCHED_FIFO.
    """

    schema: str = SCHEMA
    fits: Literal[True] = True
    host: str
    name: str
    flavor: str = ""
    vcpus: int
    memory_kib: int
    cells: tuple[PlacedCell, ...] = ()
    emulator: CpuSet
    iothreads: dict[int, CpuSet] = {}
    reserved: CpuSet = CpuSet()
    realtime: CpuSet = CpuSet()
    mempolicy: MemPolicy | None = None
    cpu_topology: CpuTopology
    tune: CpuTune = CpuTune()
    priorities: Priorities = Priorities()
    cache_shares: tuple[CacheShare, ...] = ()
    bandwidth_shares: tuple[BandwidthShare, ...] = ()
    locked: bool = False
    devices: tuple[PlacedDevice, ...] = ()

    def owned(self) -> CpuSet:
        """Every pCPU that nobody else may be given while this guest has it: dedicated pins and ``reserved``."""
        mask = self.reserved.mask
        for cell in self.cells:
            for vcpu in cell.owning():
                mask |= cell.pins[vcpu].mask
        return CpuSet.of_mask(mask)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that said no, for which guest cell on which host cell, with the numbers that decided."""

    code: str
    message: str
    guest_cell: int | None = None
    host_cell: int | None = None
    wanted: int | None = None
    available: int | None = None


class Nearest(msgspec.Struct, frozen=True):
    """The smallest change that would make the request fit, verified by placing again."""

    change: str
    message: str


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """The other answer: it does not fit on this host, and why."""

    schema: str = SCHEMA
    fits: Literal[False] = False
    host: str
    name: str
    misfits: tuple[Reason, ...]
    nearest: Nearest | None = None
