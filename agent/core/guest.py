"""The guest topology: what a request means once every extra spec and image property has been read and checked.

A value without host facts: the same request gives the same guest topology on every host.  ``agent.placement.language``
derives it, ``agent.placement.engine`` places it.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Literal

import msgspec

from agent.core.cpuset import EMPTY, CpuSet
from agent.core.placement import CpuTopology, CpuTune, Schedules
from agent.core.policy import CpuPolicy, EmulatorPolicy, MemPolicy, PciAffinity, ThreadPolicy


class PageWish(StrEnum):
    """``hw:mem_page_size`` in words: the smallest size only, anything but the smallest, or whatever the cell has."""

    SMALL = "small"
    LARGE = "large"
    ANY = "any"


class GuestCell(msgspec.Struct, frozen=True):
    """One cell of the guest: all its vCPUs, those of them that own a pCPU, and its memory."""

    vcpus: CpuSet
    dedicated: CpuSet
    memory_kib: int


class Shape(msgspec.Struct, frozen=True):
    """What a guest cell needs of a host cell; guest cells of one shape are interchangeable.

    ``extra`` counts pCPUs beside the vCPUs, for the emulator and for I/O threads: they go with guest cell 0.
    """

    dedicated: int
    floating: int
    memory_kib: int
    extra: int


class TopologyWish(msgspec.Struct, frozen=True):
    """Preferred and highest sockets, cores and threads of the guest (0: not said); ``mirror``: show pinned siblings."""

    preferred: CpuTopology = CpuTopology(0, 0, 0)
    highest: CpuTopology = CpuTopology(0, 0, 0)
    mirror: bool = True


class DeviceWish(msgspec.Struct, frozen=True):
    """So many host devices of one alias."""

    alias: str
    count: int


class L3Wish(msgspec.Struct, frozen=True):
    """``cw:l3``: each guest cell in one L3 group; or only groups that guest ``guest`` uses; or none of those."""

    relation: Literal["one", "same", "other"]
    guest: str = ""


class IoThreads(msgspec.Struct, frozen=True):
    """``cw:iothreads`` and where: with the emulator, on the shared set, on pCPUs of their own, or on a list."""

    count: int = 0
    where: Literal["emulator", "shared", "dedicated"] | CpuSet = "emulator"


class CacheWish(msgspec.Struct, frozen=True):
    """``cw:cachetune``: so much of every last-level cache that these vCPUs run behind is theirs alone."""

    vcpus: CpuSet
    size_kib: int
    type: Literal["both", "code", "data"] = "both"


class BandwidthWish(msgspec.Struct, frozen=True):
    """``cw:memorytune``: the most of the memory bandwidth that these vCPUs may use, in percent."""

    vcpus: CpuSet
    percent: int


class GuestTopology(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything a request asks of a host.  With ``cells`` empty the guest floats over the host's shared set.

    ``idle_siblings`` tells whether ``isolate`` may be met by leaving siblings idle on a host with SMT and split sets.
    ``auto_cells``: the one guest cell may be split over the fewest host cells that hold it.
    """

    name: str
    flavor: str = ""
    vcpus: int
    memory_kib: int
    cells: tuple[GuestCell, ...] = ()
    cpu_policy: CpuPolicy = CpuPolicy.SHARED
    thread_policy: ThreadPolicy | None = None
    idle_siblings: bool = False
    emulator_policy: EmulatorPolicy | None = None
    realtime: CpuSet = EMPTY
    page: int | PageWish | None = None
    locked: bool = False
    mempolicy: MemPolicy = MemPolicy.STRICT
    topology: TopologyWish = TopologyWish()
    tune: CpuTune = CpuTune()
    devices: tuple[DeviceWish, ...] = ()
    pci_affinity: PciAffinity = PciAffinity.LEGACY
    host_cells: tuple[int, ...] | None = None
    l3: L3Wish | None = None
    auto_cells: bool = False
    iothreads: IoThreads = IoThreads()
    prefer_fast: bool = False
    schedules: Schedules = Schedules()
    cache_wishes: tuple[CacheWish, ...] = ()
    bandwidth_wishes: tuple[BandwidthWish, ...] = ()

    @cached_property
    def vcpu_lists(self) -> tuple[tuple[int, ...], ...]:
        """The vCPUs of each guest cell, ascending."""
        return tuple(tuple(cell.vcpus) for cell in self.cells)

    @cached_property
    def cell_shapes(self) -> tuple[Shape, ...]:
        """The shape of each guest cell, in guest cell order."""
        extra = int(self.emulator_policy is EmulatorPolicy.ISOLATE)
        if self.iothreads.where == "dedicated":
            extra += self.iothreads.count
        return tuple(
            Shape(
                dedicated=len(cell.dedicated),
                floating=len(cell.vcpus) - len(cell.dedicated),
                memory_kib=cell.memory_kib,
                extra=0 if number else extra,
            )
            for number, cell in enumerate(self.cells)
        )

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The different shapes among them, in order of first appearance."""
        return tuple(dict.fromkeys(self.cell_shapes))

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """For each guest cell, which of ``shapes`` it has."""
        return tuple(self.shapes.index(shape) for shape in self.cell_shapes)
