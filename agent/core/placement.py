"""The Placement document (``cellwright.placement/1``): the decision, or why there is none."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from agent.core.cpulist import HIGHEST_CPU
from agent.core.cpuset import CpuSet
from agent.core.policy import CpuPolicy, MemPolicy
from agent.core.topology import PageSize, Size

SCHEMA = "cellwright.placement/1"

Number = Annotated[int, msgspec.Meta(ge=0, lt=HIGHEST_CPU)]
Count = Annotated[int, msgspec.Meta(ge=1, lt=HIGHEST_CPU)]


class PlacedCell(msgspec.Struct, frozen=True, kw_only=True):
    """One guest cell on one host cell.

    ``pins`` maps each vCPU to its pCPUs: one when dedicated, the host cell's shared pCPUs when floating.  ``page_kib``
    is the page size asked for, None when the request named none; ``pool_kib`` the size of the pages that hold the
    memory either way (None: the host told no pools); ``base_page_kib`` that of the host's ordinary pages, 64 on some
    ARM and POWER hosts.  ``dedicated`` holds the vCPUs that own their pCPU; None stands for all of a dedicated guest's
    and none of a floating one's.  ``reserved`` is this host cell's part of the placement's.  ``distances`` is what the
    guest is told: guest cell → ACPI distance (10 is itself); empty when it is told nothing.
    """

    guest_cell: Number
    host_cell: Number
    vcpus: CpuSet
    memory_kib: Size
    page_kib: PageSize | None = None
    pool_kib: PageSize | None = None
    base_page_kib: PageSize = 4
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

    sockets: Count
    cores: Count
    threads: Count


class CpuTune(msgspec.Struct, frozen=True):
    """``quota:cpu_shares``, ``quota:cpu_period`` and ``quota:cpu_quota`` (both microseconds); None when not asked.

    ``shares`` 0 stands for no weight at all, where libvirt has no cgroups to write it to.
    """

    shares: int | None = None
    period_us: int | None = None
    quota_us: int | None = None


class Schedule(msgspec.Struct, frozen=True):
    """How a thread is scheduled: libvirt's word, and the priority of ``fifo`` and ``rr`` (1-99; 0 for the others)."""

    scheduler: Literal["fifo", "rr", "batch", "idle"]
    priority: int = 0


REALTIME = Schedule("fifo", 1)
"""What the vCPUs in ``Placement.realtime`` have unless something else was asked for, as with Nova."""


class Schedules(msgspec.Struct, frozen=True):
    """By vCPU and by I/O thread, and for the emulator's threads; who is not named has the kernel's normal scheduler."""

    vcpus: dict[int, Schedule] = {}
    iothreads: dict[int, Schedule] = {}
    emulator: Schedule | None = None


class CacheShare(msgspec.Struct, frozen=True):
    """A part of one host cache kept for vCPUs (resctrl): ``cache`` is the kernel's id of it."""

    vcpus: CpuSet
    cache: int
    size_kib: int
    level: int = 3
    type: Literal["both", "code", "data"] = "both"


class BandwidthShare(msgspec.Struct, frozen=True):
    """The memory bandwidth that vCPUs may use behind one host cache, in percent (resctrl).

    ``cache`` is the kernel's id of a last-level cache: the kernel limits the traffic between that cache and memory,
    wherever the memory is, although libvirt's element calls it ``node``.
    """

    vcpus: CpuSet
    cache: int
    percent: int


class PlacedDevice(msgspec.Struct, frozen=True):
    """A host PCI device given to the guest, and the host cell it sits on (None: the kernel does not know)."""

    pci: str
    host_cell: int | None
    name: str = ""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything of one guest goes.  With ``cells`` empty the guest floats over ``emulator``, the shared set.

    ``reserved`` holds pCPUs owned beside the pins: kept for the emulator, or idle siblings.  ``realtime`` holds the
    vCPUs that run in real time, under SCHED_FIFO with priority 1 where ``schedules`` does not say otherwise.  A
    document that does not say ``vcpus`` and ``memory_kib`` means those of its cells.
    """

    schema: str = SCHEMA
    fits: Literal[True] = True
    host: str
    name: str
    flavor: str = ""
    vcpus: Number = 0
    memory_kib: Size = 0
    cells: tuple[PlacedCell, ...] = ()
    emulator: CpuSet
    iothreads: dict[int, CpuSet] = {}
    reserved: CpuSet = CpuSet()
    realtime: CpuSet = CpuSet()
    mempolicy: MemPolicy | None = None
    cpu_topology: CpuTopology
    tune: CpuTune = CpuTune()
    schedules: Schedules = Schedules()
    cache_shares: tuple[CacheShare, ...] = ()
    bandwidth_shares: tuple[BandwidthShare, ...] = ()
    locked: bool = False
    devices: tuple[PlacedDevice, ...] = ()

    def __post_init__(self) -> None:
        if not self.vcpus:
            seen = self.cpu_topology
            vcpus = sum(len(cell.vcpus) for cell in self.cells) or seen.sockets * seen.cores * seen.threads
            msgspec.structs.force_setattr(self, "vcpus", vcpus)
        if not self.memory_kib and self.cells:
            msgspec.structs.force_setattr(self, "memory_kib", sum(cell.memory_kib for cell in self.cells))

    def owned(self) -> CpuSet:
        """Every pCPU that nobody else may be given while this guest has it: dedicated pins and ``reserved``."""
        mask = self.reserved.mask
        for cell in self.cells:
            for vcpu in cell.owning():
                mask |= cell.pins[vcpu].mask
        return CpuSet.of_mask(mask)

    def occupied(self) -> CpuSet:
        """The pCPUs that it owns, or that it floats over where it owns none: where its neighbours find it."""
        return self.owned() or self.emulator

    def vcpu_schedule(self, vcpu: int | None) -> Schedule | None:
        """How a vCPU's thread is scheduled; None is the kernel's normal scheduler."""
        if vcpu is None:
            return None
        return self.schedules.vcpus.get(vcpu, REALTIME if vcpu in self.realtime else None)


def find_contradiction(placement: Placement) -> str | None:
    """The first thing in a document from elsewhere that cannot be, in words; None when all of it holds together."""
    if not placement.memory_kib:
        return "memory_kib is missing, and no cell says how much"
    placed = 0
    for cell in placement.cells:
        where = f"guest cell {cell.guest_cell}"
        if set(cell.pins) != set(cell.vcpus):
            return f"{where}: its vcpus are {cell.vcpus}, and pins has {', '.join(map(str, sorted(cell.pins)))}"
        if again := CpuSet.of_mask(cell.vcpus.mask & placed):
            return f"{where}: vCPUs {again} are of another guest cell too"
        placed |= cell.vcpus.mask
        for vcpu in cell.owning():
            if vcpu not in cell.pins or len(cell.pins[vcpu]) != 1:
                return f"{where}: vCPU {vcpu} owns one pCPU, and its pin is {str(cell.pins.get(vcpu, ''))!r}"
    if placement.cells and placed != (1 << placement.vcpus) - 1:
        return f"vcpus is {placement.vcpus}, and the cells have {CpuSet.of_mask(placed)}"
    numbers = [cell.guest_cell for cell in placement.cells]
    return None if len(set(numbers)) == len(numbers) else f"guest cells are numbered {', '.join(map(str, numbers))}"


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
