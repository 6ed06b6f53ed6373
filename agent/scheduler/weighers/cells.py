"""What Nova's weighers do not see: the cells.  Pair room kept, tightness, L3 groups, distance, devices nearby.

Guests without cells of their own score nothing here.  The arithmetic of pairs is that of agent.placement.packing, which
the engine also follows among the cells of one host.
"""

from __future__ import annotations

import numpy as np

from agent.placement.packing import pair_room
from agent.scheduler.aggregates import Column
from agent.scheduler.filters.cells import cells_that_do
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings


def _dedicated(wanted: Wanted) -> bool:
    return bool(wanted.guest.shapes) and wanted.guest.shapes[0].dedicated > 0


def _pairs(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the pair room that a one-cell guest destroys on its best cell; nothing for guests of several cells."""
    if not _dedicated(wanted) or len(wanted.guest.cells) != 1:
        return None
    shape = wanted.guest.shapes[0]
    does = cells_that_do(table, wanted, shape)
    needed = shape.dedicated + shape.extra
    places = [np.maximum(table.cells.free[:, place], 0) for place in range(table.cells.width)]
    before = pair_room(places)
    best = np.full(table.size, np.inf)
    for place, free in enumerate(places):
        after = pair_room([free - needed if other == place else kept for other, kept in enumerate(places)])
        best = np.where(does[:, place], np.minimum(best, before - after), best)
    return np.asarray(-np.where(np.isinf(best), 0.0, best), dtype=np.float64)


def _tightness(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the pCPUs left over on the tightest cell that does: full cells are filled up, whole ones stay whole."""
    if not _dedicated(wanted):
        return None
    shape = wanted.guest.shapes[0]
    does = cells_that_do(table, wanted, shape)
    left = np.where(does, table.cells.free - shape.dedicated - shape.extra, np.iinfo(np.int64).max).min(axis=1)
    return np.where(does.any(axis=1), -left, 0).astype(np.float64)


def _l3(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where each guest cell can be inside one L3 group of a cell that does, else 0."""
    if not _dedicated(wanted):
        return None
    inside = np.ones(table.size, dtype=np.bool_)
    for kind, shape in enumerate(wanted.guest.shapes):
        does = cells_that_do(table, wanted, shape) & (table.cells.group_free >= shape.dedicated)
        inside &= does.sum(axis=1) >= wanted.guest.kinds.count(kind)
    return inside.astype(np.float64)


def _distance(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the host's least distance between two cells, for guests of several cells."""
    if len(wanted.guest.cells) < 2:
        return None
    return np.asarray(-table.cells.nearest, dtype=np.float64)


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
