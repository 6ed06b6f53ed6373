"""Columns over the cells of all hosts: one row a host, one place a cell, so that the table can say no without a fit.

What they say is necessary and not sufficient: a cell with enough of everything may still lack pages in one pool and
cores in one L3 group at once.  They never say no where the exact fit says yes.  A place is contiguous in memory, so
that arithmetic over all hosts' first cells, then all hosts' second cells, runs at the memory's speed.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from agent.placement.layout import CellLayout
from agent.placement.packing import BLOCKS, blocks_in
from agent.placement.room import CellRoom, Room

Grid = NDArray[np.int64]
NOWHERE = -1
"""What a place holds that is no cell of its host: too little for anything."""

FAR = 255
PLENTY = 1 << 62
MOST_SHAPES = 10_000

GRIDS = (
    "free",
    "whole",
    "siblings",
    "plain",
    "group_free",
    "memory_kib",
    "memory_all_kib",
    "large_kib",
    "floating",
    "overcommit_kib",
    "free_kib",
    "devices",
    *(f"blocks_{pcpus}x{shares}" for pcpus, shares in BLOCKS),
)

NOTHING = np.array([[[0 if name.startswith("blocks") else NOWHERE]] for name in GRIDS])
"""What every grid holds at such a place; there are no blocks there."""


class CellColumns:
    """One grid a quantity.

    ``free`` dedicated pCPUs; free ``whole`` cores that ``isolate`` may have; the most pCPUs in equal ``siblings`` for
    ``require``; ``plain`` where ``isolate`` leaves nothing idle that is the operator's; the most free pCPUs in one L3
    group (``group_free``); ``memory_kib`` free in the smallest pages, or ``memory_all_kib`` there are; ``large_kib`` in
    the best larger pool; ``floating`` vCPUs and ``overcommit_kib`` that the ratios still allow; ``free_kib``
    of all memory, whatever its pages; ``devices``.  ``pages(size)`` has the free KiB of one pool size; ``blocks``, kind
    × place × host, what is free in the blocks of agent.placement.packing.  One value a host: ``nearest``, the least
    distance between two cells, ``kib_per_pcpu``, a share of memory, and ``grain_bits``, the exponent of its grain.
    """

    free: Grid
    whole: Grid
    siblings: Grid
    plain: Grid
    group_free: Grid
    memory_kib: Grid
    memory_all_kib: Grid
    large_kib: Grid
    floating: Grid
    overcommit_kib: Grid
    free_kib: Grid
    devices: Grid
    blocks: Grid
    nearest: NDArray[np.float64]
    kib_per_pcpu: NDArray[np.int64]
    grain_bits: NDArray[np.int64]

    def __init__(self) -> None:
        self.version = 0
        self._size = 0
        self._all = np.broadcast_to(NOTHING, (len(GRIDS), 2, 16)).copy()
        self._shapes: dict[tuple[object, ...], tuple[int, int, int]] = {}
        self._pages: dict[int, Grid] = {}
        self._nearest = np.full(16, float(FAR))
        self._kib_per_pcpu = np.ones(16, dtype=np.int64)
        self._grain_bits = np.zeros(16, dtype=np.int64)
        self._expose()

    @property
    def width(self) -> int:
        """The most cells of any host so far."""
        return int(self._all.shape[1])

    def pages(self, size_kib: int) -> Grid | None:
        """The free KiB of each cell in pages of one size; None when no host has such pages."""
        grid = self._pages.get(size_kib)
        return None if grid is None else grid[: self._size]

    def resize(self, size: int) -> None:
        """Follow the host table's number of rows."""
        capacity = len(self._nearest)
        if size > capacity:
            self._grow(max(size, 2 * capacity), self.width)
        self._size = size
        self._expose()

    def put(self, row: int, room: Room | None, *, before: Room | None = None) -> None:
        """Take in what is left on a host; None when its topology is not known.

        ``before`` is what was put there last: only cells in which something changed are measured again.
        """
        self.version += 1
        cells = room.cells if room else ()
        if len(cells) > self.width:
            self._grow(len(self._nearest), len(cells))
        old = before.cells if before is not None and room is not None else ()
        if (
            not old
            or len(old) != len(cells)
            or any(one.cell is not now.cell for one, now in zip(old, cells, strict=True))
        ):
            self._all[:, :, row] = NOTHING[:, :, 0]
            for grid in self._pages.values():
                grid[row] = NOWHERE
            self._nearest[row] = _nearest(room) if room else FAR
            old = ()
        kib_per_pcpu, grain = (room.kib_per_pcpu, room.grain) if room else (1, 1)
        if kib_per_pcpu != self._kib_per_pcpu[row] or grain != 1 << self._grain_bits[row]:
            self._kib_per_pcpu[row], self._grain_bits[row] = kib_per_pcpu, grain.bit_length() - 1
            old = ()
        for place, cell in enumerate(cells):
            if old and old[place] == cell:
                continue
            self._all[:, place, row] = self._measure(cell, kib_per_pcpu, grain)
            for size, (_, free) in cell.pools.items():
                if size not in self._pages:
                    self._pages[size] = _grid(len(self._nearest), self.width)
                self._pages[size][row, place] = free * size

    def _measure(self, room: CellRoom, kib_per_pcpu: int, grain: int) -> tuple[int, ...]:
        """One cell's values, in the order of GRIDS."""
        cell, free = room.cell, room.free
        count = room.free_count
        whole, siblings, group_free = self._shape(cell, free)
        memory_kib, memory_all_kib = room.memory_free_kib, room.memory_kib
        larger: list[int] = []
        if room.pools:
            (size, (total, left)), *rest = room.pools.items()
            memory_kib, memory_all_kib = left * size, total * size
            larger = [pages * size for size, (_, pages) in rest]
        floating = cell.shared.bit_count()
        if room.floating_limit is not None:
            floating = min(floating, floor(room.floating_limit - room.floating_vcpus))
        limit = room.memory_limit_kib
        return (
            count,
            whole,
            siblings,
            int(cell.legacy or cell.threads_per_core < 2),
            group_free,
            memory_kib,
            memory_all_kib,
            max(larger, default=0),
            floating,
            PLENTY if limit is None else floor(limit - room.memory_used_kib),
            room.memory_free_kib,
            cell.device_count,
            *blocks_in((count, max(0, room.memory_free_kib // kib_per_pcpu)), grain),
        )

    def _shape(self, cell: CellLayout, free: int) -> tuple[int, int, int]:
        """Whole cores, the most equal siblings, the largest group; kept, because many cells are alike."""
        key = (free, cell.cores, cell.isolable, cell.group_masks)
        known = self._shapes.get(key)
        if known is None:
            threads = [(core & free).bit_count() for core in cell.cores]
            known = (
                sum(core & free == core for core in cell.isolable),
                max((n * sum(have >= n for have in threads) for n in range(2, max(threads, default=0) + 1)), default=0),
                max((mask & free).bit_count() for mask in cell.group_masks) if cell.group_masks else free.bit_count(),
            )
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            self._shapes[key] = known
        return known

    def _grow(self, rows: int, width: int) -> None:
        grown = np.broadcast_to(NOTHING, (len(GRIDS), width, rows)).copy()
        grown[:, : self.width, : len(self._nearest)] = self._all
        self._all = grown
        self._pages = {size: _grown(grid, rows, width) for size, grid in self._pages.items()}
        nearest, kib_per_pcpu = np.full(rows, float(FAR)), np.ones(rows, dtype=np.int64)
        grain_bits = np.zeros(rows, dtype=np.int64)
        nearest[: len(self._nearest)] = self._nearest
        kib_per_pcpu[: len(self._nearest)] = self._kib_per_pcpu
        grain_bits[: len(self._nearest)] = self._grain_bits
        self._nearest, self._kib_per_pcpu, self._grain_bits = nearest, kib_per_pcpu, grain_bits
        self._expose()

    def _expose(self) -> None:
        for name, grid in zip(GRIDS, self._all, strict=True):
            setattr(self, name, grid.T[: self._size])
        self.blocks = self._all[-len(BLOCKS) :, :, : self._size]
        self.nearest = self._nearest[: self._size]
        self.kib_per_pcpu = self._kib_per_pcpu[: self._size]
        self.grain_bits = self._grain_bits[: self._size]


def _grid(rows: int, width: int) -> Grid:
    return np.full((rows, width), NOWHERE, dtype=np.int64, order="F")


def _grown(grid: Grid, rows: int, width: int) -> Grid:
    grown = _grid(rows, width)
    grown[: grid.shape[0], : grid.shape[1]] = grid
    return grown


def _nearest(room: Room) -> int:
    distances = room.layout.distances
    pairs = [distances[one][other] for one in range(len(distances)) for other in range(one)]
    return min(pairs, default=FAR)
