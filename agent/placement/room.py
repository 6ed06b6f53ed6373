"""What is left on a host: its layout minus what guests hold and what the operator keeps back."""

from __future__ import annotations

from functools import cached_property

import msgspec

from agent.core.errors import BadInput
from agent.core.policy import PackingPolicy
from agent.core.topology import HostTopology
from agent.core.usage import CellUsage, Limits, Usage
from agent.placement.layout import CellLayout, Layout
from agent.placement.packing import Counted, count_blocks, grain_of, kib_per_dedicated

KIB_PER_MIB = 1024
NO_LIMITS = Limits()
NOTHING_USED = CellUsage(0)


class CellRoom(msgspec.Struct, frozen=True, dict=True):
    """One cell's room.  ``pools``: page size in KiB → (pages in all, pages free), smallest first.

    ``free`` is the mask of dedicated pCPUs nobody owns, ``free_count`` their number.  ``memory_free_kib`` is below 0
    where guests hold more than there is.  ``floating_limit`` and ``memory_limit_kib`` are None where no ratio is given.
    ``untouched``: no guest holds anything here.
    """

    cell: CellLayout
    free: int
    free_count: int
    floating_vcpus: int
    memory_used_kib: int
    memory_kib: int
    memory_free_kib: int
    pools: dict[int, tuple[int, int]]
    floating_limit: float | None
    memory_limit_kib: float | None
    untouched: bool

    @cached_property
    def free_cores(self) -> list[list[int]]:
        """``cores_by_count`` of all free pCPUs."""
        return self.cores_by_count(self.free)

    def cores_by_count(self, region: int) -> list[list[int]]:
        """How many threads of a core lie in ``region`` → the masks of those threads, one a core, lowest pCPU first."""
        by_count: list[list[int]] = [[] for _ in range(self.cell.threads_per_core + 1)]
        for core in self.cell.cores:
            threads = core & region
            by_count[threads.bit_count()].append(threads)
        by_count[0] = []
        return by_count


class Room(msgspec.Struct, frozen=True, dict=True):
    """A host's room, by cell index; ``devices_used`` are PCI addresses that guests have."""

    layout: Layout
    cells: tuple[CellRoom, ...]
    packing: PackingPolicy
    devices_used: frozenset[str]

    @cached_property
    def kib_per_pcpu(self) -> int:
        """The KiB that a dedicated pCPU of the poorest cell has: a share of memory for ``packing``."""
        return kib_per_dedicated((cell.memory_kib, cell.cell.dedicated.bit_count()) for cell in self.cells)

    @cached_property
    def grain(self) -> int:
        """The pCPUs in which ``packing`` counts blocks on this host."""
        return grain_of(cell.cell.dedicated.bit_count() for cell in self.cells)

    @cached_property
    def counted(self) -> Counted | None:
        """What is free in blocks; None where every cell has as much free, so that none destroys less than another."""
        free = [(cell.free_count, cell.memory_free_kib) for cell in self.cells]
        if len(set(free)) < 2:
            return None
        return count_blocks([(pcpus, max(0, kib // self.kib_per_pcpu)) for pcpus, kib in free], self.grain)

    def within(self, pcpus: int) -> Room:
        """The same with no free pCPUs but those of a mask."""
        cells = []
        for cell in self.cells:
            free = cell.free & pcpus
            cells.append(msgspec.structs.replace(cell, free=free, free_count=free.bit_count()))
        return msgspec.structs.replace(self, cells=tuple(cells))

    @cached_property
    def whole_pairs(self) -> tuple[bool, ...]:
        """For each cell, whether nobody has touched it or its partner."""
        partners = zip(self.cells, self.layout.partners, strict=True)
        return tuple(
            partner is not None and cell.untouched and self.cells[partner].untouched for cell, partner in partners
        )


def measure_room(layout: Layout, usage: Usage, limits: Limits | None = None) -> Room:
    """What the host has left for guests; BadInput when usage names a cell that the host does not have.

    An owned pCPU is nobody else's, whichever cell it was booked on: cells may have been others then.
    """
    limits = limits or NO_LIMITS
    used = {cell.id: cell for cell in usage.cells}
    unknown = unknown_cells(layout, usage)
    if unknown:
        raise BadInput(
            f"usage: cell {unknown[0]} is not on host {layout.hostname}; its cells: "
            + ", ".join(str(cell.id) for cell in layout.cells)
        )
    owned = 0
    for held in usage.cells:
        owned |= held.pinned.mask
    return Room(
        layout=layout,
        cells=tuple(_cell_room(cell, used.get(cell.id), limits, owned=owned) for cell in layout.cells),
        packing=limits.packing,
        devices_used=frozenset(usage.devices),
    )


def unknown_cells(host: Layout | HostTopology, usage: Usage) -> list[int]:
    """The cells of a usage that the host does not have."""
    return sorted({cell.id for cell in usage.cells} - {cell.id for cell in host.cells})


def _cell_room(cell: CellLayout, used: CellUsage | None, limits: Limits, *, owned: int) -> CellRoom:
    if used is None:
        used = NOTHING_USED
    pages_used = {page.size_kib: page.used for page in used.pages}
    kept_kib = limits.reserved_memory_mb.get(cell.id, 0) * KIB_PER_MIB if limits.reserved_memory_mb else 0
    pools = {size: (total, total - pages_used.get(size, 0)) for size, total in cell.pools}
    if kept_kib and pools:
        smallest = next(iter(pools))
        total, free = pools[smallest]
        kept_pages = -(-kept_kib // smallest)
        pools[smallest] = (max(0, total - kept_pages), free - kept_pages)
    for reserved in limits.reserved_huge_pages:
        if reserved.cell == cell.id and reserved.size_kib in pools:
            total, free = pools[reserved.size_kib]
            pools[reserved.size_kib] = (total, free - reserved.count)
    pools = {size: (total, max(0, free)) for size, (total, free) in pools.items()}
    memory_kib = max(0, cell.memory_kib - kept_kib)
    unowned = cell.dedicated & ~owned
    cpu_ratio, ram_ratio = limits.cpu_allocation_ratio, limits.ram_allocation_ratio
    return CellRoom(
        cell=cell,
        free=unowned,
        free_count=unowned.bit_count(),
        floating_vcpus=used.floating_vcpus,
        memory_used_kib=used.memory_kib,
        memory_kib=memory_kib,
        memory_free_kib=memory_kib - used.memory_kib,
        pools=pools,
        floating_limit=None if cpu_ratio is None else cell.shared.bit_count() * cpu_ratio,
        memory_limit_kib=None if ram_ratio is None else memory_kib * ram_ratio,
        untouched=not (cell.cpus & owned or used.floating_vcpus or used.memory_kib or any(pages_used.values())),
    )
