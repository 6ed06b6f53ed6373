"""What Nova's weighers do not see: the cells.  Pair room kept, tightness, L3 groups, distance, devices nearby.

Only guests with dedicated pCPUs are weighed here: where they are does not slow others, so they are packed, and room
stays for guests of two cells.  Floating guests share, and are spread by RAM and CPU as in Nova.  So are guests of
groups with a soft policy: their group's wish and Nova's weighers decide between hosts.  The arithmetic is that of
agent.placement.packing, which the engine also follows among the cells of one host: CellPairs and CellFragmentation are
its ``cost``, first and second number, and their default multipliers keep that order: one block of pair room outweighs
all pCPUs left over, one pCPU left over outweighs RAM, CPU and the other weighers of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from agent.core.guest import Shape
from agent.placement.packing import BLOCKS
from agent.scheduler.aggregates import Column
from agent.scheduler.cells import Grid
from agent.scheduler.filters.cells import cells_that_do
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

SOFT = ("soft-affinity", "soft-anti-affinity")
MOST_PAIRS = 6
"""Guests of two cells are weighed by pairs where there are no more pairs of cells than on a host of four."""

NEVER = np.iinfo(np.int64).max


def _packed(wanted: Wanted) -> bool:
    guest = wanted.guest
    soft = wanted.group is not None and wanted.group.policy in SOFT
    return bool(guest.shapes) and guest.shapes[0].dedicated > 0 and not guest.auto_cells and not soft


def _pairs(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the pair room that the guest destroys on its best cell, or its best pair of cells."""
    if not _packed(wanted):
        return None
    width = table.cells.width
    shapes = wanted.guest.cell_shapes
    if len(shapes) > 2 or (len(shapes) == 2 and width * (width - 1) // 2 > MOST_PAIRS):
        return None
    blocks = _blocks(np.maximum(table.cells.units.T, 0))
    left = {shape: _blocks(_left(table, wanted, shape)) for shape in wanted.guest.shapes}
    least = np.full(table.size, NEVER)
    before = _pair_room(blocks)
    for places in combinations(range(width), len(shapes)):
        does, after = None, [list(of_size) for of_size in blocks]
        for place, shape in zip(places, shapes, strict=True):
            here = cells_that_do(table, wanted, shape)[:, place]
            does = here if does is None else does & here
            for of_size, of_left in zip(after, left[shape], strict=True):
                of_size[place] = of_left[place]
        np.minimum(least, before - _pair_room(after), out=least, where=does)
    least[least == NEVER] = 0
    return -least.astype(np.float64)


def _left(table: HostTable, wanted: Wanted, shape: Shape) -> Grid:
    """The units that a guest cell leaves on each place (row) of every host; worked out once a decision."""
    kept: dict[tuple[int, Shape], Grid] = wanted.__dict__.setdefault("_left", {})
    key = (table.cells.version, shape)
    if key not in kept:
        cells = table.cells
        memory_kib = (cells.memory_kib.T - shape.memory_kib) // cells.kib_per_pcpu
        left = np.minimum(cells.free.T - (shape.dedicated + shape.extra), memory_kib)
        kept[key] = np.asarray(np.maximum(left, 0), dtype=np.int64)
    return kept[key]


def _blocks(units: Grid) -> list[list[Grid]]:
    """For each size of block, how many each place of every host gives."""
    return [list(units // size) for size in BLOCKS]


def _pair_room(blocks: Sequence[Sequence[Grid]]) -> Grid:
    """``packing.pair_room`` over all hosts at once."""
    room: Grid = np.zeros_like(blocks[0][0])
    for size, of_size in zip(BLOCKS, blocks, strict=True):
        if len(of_size) == 2:
            room += np.minimum(of_size[0], of_size[1]) * size
            continue
        total, largest = of_size[0], of_size[0]
        for other in of_size[1:]:
            total, largest = total + other, np.maximum(largest, other)
        room += np.minimum(total // 2, total - largest) * size
    return room


def _tightness(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the units left over on the tightest cell that does: full cells are filled up, whole ones stay whole."""
    if not _packed(wanted):
        return None
    shape = wanted.guest.shapes[0]
    does = cells_that_do(table, wanted, shape)
    least = np.full(table.size, NEVER)
    for place, left in enumerate(_left(table, wanted, shape)):
        np.minimum(least, left, out=least, where=does[:, place])
    least[least == NEVER] = 0
    return -least.astype(np.float64)


def _l3(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where each guest cell can be inside one L3 group of a cell that does, else 0."""
    if not _packed(wanted):
        return None
    inside = np.ones(table.size, dtype=np.bool_)
    for kind, shape in enumerate(wanted.guest.shapes):
        does = cells_that_do(table, wanted, shape) & (table.cells.group_free >= shape.dedicated)
        inside &= does.sum(axis=1) >= wanted.guest.kinds.count(kind)
    return inside.astype(np.float64)


def _distance(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the host's least distance between two cells, for guests of several cells."""
    return -table.cells.nearest if len(wanted.guest.cells) > 1 else None


def _devices(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where a cell that does has devices, for guests that want some; for others, where one that does has none."""
    if not wanted.guest.shapes:
        return None
    does = cells_that_do(table, wanted, wanted.guest.shapes[0])
    suits = table.cells.devices > 0 if wanted.guest.devices else table.cells.devices == 0
    return np.asarray((does & suits).any(axis=1), dtype=np.float64)


WEIGHERS = (
    Weigher("CellPairs", "cell_pairs_weight_multiplier", _pairs),
    Weigher("CellFragmentation", "cell_fragmentation_weight_multiplier", _tightness),
    Weigher("L3Fit", "l3_weight_multiplier", _l3),
    Weigher("Distance", "distance_weight_multiplier", _distance),
    Weigher("DeviceLocality", "device_locality_weight_multiplier", _devices),
)
