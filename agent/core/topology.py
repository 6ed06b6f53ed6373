"""The Topology document: what a host is made of (``cellwright.topology/1``).

Sizes are KiB, page counts are pages, CPU sets are kernel lists in JSON.  ``None`` means "not known" everywhere; an
empty set or tuple means "known to be none".
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.core.cpulist import HIGHEST_CPU
from agent.core.cpuset import CpuSet
from agent.core.knobs import Knobs

Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
"""KiB or pages: more than any machine has, and every JSON reader and 64-bit column holds it."""

PageSize = Annotated[int, msgspec.Meta(ge=1, lt=1 << 40)]


class CpuIdentity(msgspec.Struct, frozen=True):
    """Who made the CPUs, and their feature flags as the kernel spells them."""

    vendor: str | None = None
    model: str | None = None
    flags: tuple[str, ...] = ()


LARGEST_BASE_PAGE_KIB = 64
"""ARM and POWER kernels come with base pages of this size."""


class PagePool(msgspec.Struct, frozen=True):
    """One page size of a cell.  The base page size is a pool too: its ``total`` is what is not in huge-page pools."""

    size_kib: PageSize
    total: Size
    free: Size | None = None


class Core(msgspec.Struct, frozen=True):
    """One physical core of a cell and its online threads (siblings).

    ``kind`` tells the cores of a hybrid part apart (``performance``, ``middle``, ``efficiency``); ``cluster`` is the
    kernel's id of the cluster inside the die; ``book`` and ``drawer`` hold sockets on s390x.
    """

    socket: int | None
    die: int | None
    core: int | None
    cpus: CpuSet
    cluster: int | None = None
    book: int | None = None
    drawer: int | None = None
    kind: str | None = None


class Cache(msgspec.Struct, frozen=True):
    """One cache and the online pCPUs of this cell that share it; ``id`` is the kernel's, known of last-level caches."""

    level: int
    type: str
    size_kib: int | None
    cpus: CpuSet
    id: int | None = None


class Device(msgspec.Struct, frozen=True):
    """A device of a cell (``kind``: net, storage, gpu, other); ``pci`` is its address, ``root`` its root complex."""

    kind: str
    name: str
    pci: str | None = None
    vendor: str | None = None
    product: str | None = None
    root: str | None = None
    iommu_group: int | None = None
    physical_function: str | None = None


class Cell(msgspec.Struct, frozen=True):
    """One NUMA cell: its online CPUs, memory, page pools, cores, caches and devices; either may be empty."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=HIGHEST_CPU)]
    cpus: CpuSet
    memory_kib: Size | None = None
    free_kib: Size | None = None
    distances: dict[int, int] = {}
    pages: tuple[PagePool, ...] = ()
    cores: tuple[Core, ...] = ()
    caches: tuple[Cache, ...] = ()
    devices: tuple[Device, ...] = ()

    def huge_pools(self) -> tuple[PagePool, ...]:
        """The pools of huge pages: all but the first, which has the base pages where memory and page size are known."""
        has_base = self.memory_kib is not None and self.pages and self.pages[0].size_kib <= LARGEST_BASE_PAGE_KIB
        return self.pages[1:] if has_base else self.pages


class HostTopology(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A host as its kernel shows it, with the pCPUs the operator gave to guests.

    ``dedicated_set`` and ``shared_set`` are null when nothing is configured: then guests of both kinds may use every
    allowed online pCPU, as with Nova.  When one of them is set and the other is null, the other is empty.  A legacy
    ``vcpu_pin_set`` fills both with the same CPUs.
    """

    schema: str = "cellwright.topology/1"
    hostname: str
    arch: str | None = None
    kernel: str | None = None
    collected_at: str | None = None
    cpu: CpuIdentity = CpuIdentity()
    online: CpuSet
    offline: CpuSet = CpuSet()
    isolated: CpuSet = CpuSet()
    nohz_full: CpuSet = CpuSet()
    allowed: CpuSet | None = None
    sockets: int | None = None
    dies: int | None = None
    cores: int | None = None
    threads_per_core: int | None = None
    smt: bool | None = None
    cells: tuple[Cell, ...]
    outside_cells: tuple[Core, ...] = ()
    """The cores, or the threads of cores, that belong to no online cell although the host has cells."""
    dedicated_set: CpuSet | None = None
    shared_set: CpuSet | None = None
    unplaced_devices: tuple[Device, ...] = ()
    knobs: Knobs | None = None
    unknown: tuple[str, ...] = ()
    """What could not be known from the files at hand, one phrase each."""

    def usable(self) -> CpuSet:
        """The online pCPUs that guests may be given when no set is configured."""
        return self.online if self.allowed is None else self.online & self.allowed

    def dedicated(self) -> CpuSet:
        """The pCPUs that pinned guests may own, after the rule for unset sets."""
        if self.dedicated_set is not None:
            return self.dedicated_set & self.online
        return self.usable() if self.shared_set is None else CpuSet()

    def shared(self) -> CpuSet:
        """The pCPUs that floating guests share, after the rule for unset sets."""
        if self.shared_set is not None:
            return self.shared_set & self.online
        return self.usable() if self.dedicated_set is None else CpuSet()


def find_contradiction(host: HostTopology) -> str | None:
    """The first thing in a document from elsewhere that no kernel shows, in words; None when it holds together."""
    placed = 0
    for cell in host.cells:
        where = f"cell {cell.id}"
        if sum(other.id == cell.id for other in host.cells) > 1:
            return f"{where} is listed twice"
        if again := CpuSet.of_mask(cell.cpus.mask & placed):
            return f"{where}: pCPUs {again} are in another cell too"
        if outside := cell.cpus - host.online:
            return f"{where}: pCPUs {outside} are not in online, {str(host.online)!r}"
        placed |= cell.cpus.mask
        if any(not core.cpus for core in cell.cores):
            return f"{where}: a core without pCPUs"
    return None
