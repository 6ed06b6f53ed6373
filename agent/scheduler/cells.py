"""Columns over the cells of all hosts: one row a host, one place a cell, so that the table can say no without a fit.

What they say is necessary and not sufficient: a cell with enough free pCPUs may still lack whole cores.  The exact fit
runs only on hosts that these columns leave standing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.placement.room import CellRoom, Room

Grid = NDArray[np.int64]
NOWHERE = -1
"""What a place holds that is no cell of its host: too little for anything."""

FAR = 255

GRIDS = ("free", "whole", "group_free", "memory_kib", "devices")


class CellColumns:
    """``free`` dedicated pCPUs, free ``whole`` cores, the most free pCPUs in one L3 group (``group_free``), free
    ``memory_kib`` and ``devices`` of each cell; ``nearest`` is each host's least distance between two cells.
    """

    free: Grid
    whole: Grid
    group_free: Grid
    memory_kib: Grid
    devices: Grid
    nearest: NDArray[np.float64]

    def __init__(self) -> None:
        self._size = 0
        self._grids = {name: np.full((16, 2), NOWHERE, dtype=np.int64) for name in GRIDS}
        self._nearest = np.full(16, float(FAR))
        self._expose()

    @property
    def width(self) -> int:
        """The most cells of any host so far."""
        return self._grids["free"].shape[1]

    def resize(self, size: int) -> None:
        """Follow the host table's number of rows."""
        capacity = len(self._nearest)
        if size > capacity:
            self._grow(max(size, 2 * capacity), self.width)
        self._size = size
        self._expose()

    def put(self, row: int, room: Room | None) -> None:
        """Take in what is left on a host; None when its topology is not known."""
        cells = room.cells if room else ()
        if len(cells) > self.width:
            self._grow(len(self._nearest), len(cells))
        for grid in self._grids.values():
            grid[row] = NOWHERE
        for place, cell in enumerate(cells):
            for name, value in zip(GRIDS, _measure(cell), strict=True):
                self._grids[name][row, place] = value
        self._nearest[row] = _nearest(room) if room else FAR

    def _grow(self, rows: int, width: int) -> None:
        for name, grid in self._grids.items():
            grown = np.full((rows, width), NOWHERE, dtype=np.int64)
            grown[: grid.shape[0], : grid.shape[1]] = grid
            self._grids[name] = grown
        nearest = np.full(rows, float(FAR))
        nearest[: len(self._nearest)] = self._nearest
        self._nearest = nearest
        self._expose()

    def _expose(self) -> None:
        for name, grid in self._grids.items():
            setattr(self, name, grid[: self._size])
        self.nearest = self._nearest[: self._size]


def _measure(room: CellRoom) -> tuple[int, int, int, int, int]:
    cell, free = room.cell, room.free
    whole = sum(core & free == core for core in cell.cores)
    group = max((mask & free).bit_count() for mask in cell.group_masks) if cell.group_masks else free.bit_count()
    return free.bit_count(), whole, group, room.memory_kib - room.memory_used_kib, cell.device_count


def _nearest(room: Room) -> int:
    distances = room.layout.distances
    pairs = [distances[one][other] for one in range(len(distances)) for other in range(one)]
    return min(pairs, default=FAR)
