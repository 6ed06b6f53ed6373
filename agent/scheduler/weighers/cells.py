"""What Nova's weighers do not see: the cells.  Pair room kept, tightness, L3 groups, distance, devices nearby.

Only guests with dedicated pCPUs are weighed here: where they are does not slow others, so they are packed, and room
stays for guests of two cells.  Floating guests share, and are spread by RAM and CPU as in Nova.  So are guests of
groups with a soft policy: their group's wish and Nova's weighers decide between hosts.  The rule is that of
agent.placement.packing, which the engine also follows among the cells of one host.  The default multipliers make an
order: room for members of affinity groups (AffinityRoom), pair room kept (CellPairs), one block of which
outweighs all that is left over (CellFragmentation), one pCPU of which outweighs RAM, CPU and the others of size 1.
"""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np

from agent.core.guest import GuestTopology, Shape
from agent.placement.packing import BLOCKS
from agent.scheduler.aggregates import Column
from agent.scheduler.cells import Grid
from agent.scheduler.filters.cells import cells_that_do, has_cells, memory_of
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

SOFT = ("soft-affinity", "soft-anti-affinity")
MOST_PAIRS = 6
"""Guests of two cells are weighed by pairs where there are no more pairs of cells than on a host of four."""

KIN = np.array([1, 2, 4, 6, 8, 12, 16])
"""How many guests of its size a host holds, the first of an affinity group among them: each is a step better.

Finer steps reject fewer members and leave less room for others than simple rules do; coarser ones reject more.
Ranked by benchmarks/tune.py among four choices.
"""

NEVER = np.iinfo(np.int64).max
FIRST_BITS = 32
"""What counts first is shifted by so much, so that two numbers compare as one."""

_PCPU_BITS = np.array([[[size.bit_length() - 1]] for size, _ in BLOCKS])
_SHARE_BITS = np.array([[[(size * each).bit_length() - 1]] for size, each in BLOCKS])


def _packed(wanted: Wanted) -> bool:
    guest = wanted.guest
    soft = wanted.group is not None and wanted.group.policy in SOFT
    return bool(guest.shapes) and guest.shapes[0].dedicated > 0 and not guest.auto_cells and not soft


def _pairs(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the pair room, in pCPUs, that the guest destroys on its best cell, or its best pair of cells."""
    if not _packed(wanted):
        return None
    return -(_cost(table, wanted) >> FIRST_BITS).astype(np.float64)


def _tightness(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus what is left on the fullest of those cells: full cells are filled up, whole ones stay whole."""
    if not _packed(wanted):
        return None
    return -(_cost(table, wanted) & (1 << FIRST_BITS) - 1).astype(np.float64)


def _cost(table: HostTable, wanted: Wanted) -> Grid:
    """The rule of agent.placement.packing: pair room destroyed, then what is left on the fullest cell taken.

    Of each host's best cells, as one number; 0 where the columns know of none.  Worked out once a decision.
    """
    kept: dict[int, Grid] = wanted.__dict__.setdefault("_cost", {})
    if table.cells.version not in kept:
        kept[table.cells.version] = _least_cost(table, wanted)
    return kept[table.cells.version]


def _least_cost(table: HostTable, wanted: Wanted) -> Grid:
    width, shapes = table.cells.width, wanted.guest.cell_shapes
    if len(shapes) == 2 and width * (width - 1) <= 2 * MOST_PAIRS:
        arranged = permutations if shapes[0] != shapes[1] else combinations
        least = _least_of_two(table, wanted, list(arranged(range(width), 2)))
    else:
        least = _least_of_one(table, wanted, shapes[0], paired=len(shapes) == 1)
    least[least == NEVER] = 0
    return least


def _least_of_one(table: HostTable, wanted: Wanted, shape: Shape, *, paired: bool) -> Grid:
    """The cost on each host's best cell, NEVER where none does; of pair room only when ``paired``."""
    left, before = _left(table, shape), table.cells.blocks
    cost = np.minimum(*left)
    if paired:
        lost = _pair_room(before) - _pair_room_with(before, _blocks(table, left))
        cost += lost << table.cells.grain_bits + FIRST_BITS
    cost[~cells_that_do(table, wanted, shape).T] = NEVER
    return np.asarray(np.minimum.reduce(cost))


def _least_of_two(table: HostTable, wanted: Wanted, ways: list[tuple[int, ...]]) -> Grid:
    """The cost on each host's best pair of cells, NEVER where no pair does; ``ways`` are the pairs of places."""
    shapes, before = wanted.guest.cell_shapes, table.cells.blocks
    left = {shape: _left(table, shape) for shape in set(shapes)}
    after = {shape: _blocks(table, free) for shape, free in left.items()}
    room = _pair_room(before)
    least = np.full(table.size, NEVER)
    for way in ways:
        taken = list(zip(way, shapes, strict=True))
        does = np.logical_and.reduce([cells_that_do(table, wanted, shape)[:, place] for place, shape in taken])
        cost = np.minimum.reduce([free[place] for place, shape in taken for free in left[shape]])
        blocks = before.copy()
        for place, shape in taken:
            blocks[:, place] = after[shape][:, place]
        cost += (room - _pair_room(blocks)) << table.cells.grain_bits + FIRST_BITS
        np.minimum(least, cost, out=least, where=does)
    return least


def _left(table: HostTable, shape: Shape) -> tuple[Grid, Grid]:
    """The pCPUs and the shares of memory that a guest cell leaves, place × host."""
    cells = table.cells
    pcpus = cells.free.T - (shape.dedicated + shape.extra)
    shares = (cells.free_kib.T - shape.memory_kib) // cells.kib_per_pcpu
    return np.maximum(pcpus, 0), np.maximum(shares, 0)


def _blocks(table: HostTable, free: tuple[Grid, Grid]) -> Grid:
    """``packing.blocks_in`` over all hosts at once, kind × place × host."""
    pcpus, shares = free
    bits = table.cells.grain_bits
    return np.asarray(np.minimum((pcpus >> bits) >> _PCPU_BITS, (shares >> bits) >> _SHARE_BITS))


def _pair_room(blocks: Grid) -> Grid:
    """``packing.pair_room`` over all hosts at once; blocks are kind × place × host."""
    if blocks.shape[1] == 2:
        return np.asarray(np.add.reduce(np.minimum(blocks[:, 0], blocks[:, 1])))
    total = np.add.reduce(blocks, axis=1)
    return np.asarray(np.add.reduce(np.minimum(total // 2, total - np.maximum.reduce(blocks, axis=1))))


def _pair_room_with(before: Grid, after: Grid) -> Grid:
    """For each place, the pair room of each host when that place alone has what ``after`` says; place × host."""
    if before.shape[1] == 2:
        return np.asarray(np.add.reduce(np.minimum(before[:, ::-1], after)))
    rooms = []
    for place in range(before.shape[1]):
        blocks = before.copy()
        blocks[:, place] = after[:, place]
        rooms.append(_pair_room(blocks))
    return np.array(rooms)


def _kin(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where the guest is in no group's way: hosts with members of an affinity group are left to the others.

    2 more for each step of ``KIN``, for the first of an affinity group: the others must come after it, and nobody
    knows how many.  In steps, because small groups need no empty host.
    """
    group = wanted.group if wanted.group is not None and wanted.group.policy == "affinity" else None
    if not _packed(wanted) or (group is not None and group.hosts):
        return None
    alone = np.asarray(table.kin == 0, dtype=np.float64)
    return alone if group is None else alone + 2 * _room_for_kin(table, wanted.guest)


def _room_for_kin(table: HostTable, guest: GuestTopology) -> Grid:
    """How many steps of ``KIN`` each host reaches with guests like this one, itself counted."""
    memory, shape, count = memory_of(table.cells, guest), guest.shapes[0], len(guest.cells)
    if memory is None or count > table.cells.width:
        return np.zeros(table.size, dtype=np.int64)
    held = np.minimum(table.cells.free // (shape.dedicated + shape.extra), memory // shape.memory_kib)
    held = np.maximum(held, 0)
    guests = held.sum(axis=1) if count == 1 else np.sort(held, axis=1)[:, -count]
    return np.searchsorted(KIN, guests, side="right")


def _l3(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where each guest cell can be inside one L3 group of a cell that does, else 0."""
    if not _packed(wanted):
        return None
    inside = [
        has_cells(
            cells_that_do(table, wanted, shape) & (table.cells.group_free >= shape.dedicated),
            wanted.guest.kinds.count(kind),
        )
        for kind, shape in enumerate(wanted.guest.shapes)
    ]
    return np.asarray(np.logical_and.reduce(inside), dtype=np.float64)


def _distance(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Minus the host's least distance between two cells, for guests of several cells."""
    return -table.cells.nearest if len(wanted.guest.cells) > 1 else None


def _devices(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """1 where a cell that does has devices, for guests that want some; for others, where one that does has none."""
    if not wanted.guest.shapes:
        return None
    does = cells_that_do(table, wanted, wanted.guest.shapes[0])
    suits = table.cells.devices > 0 if wanted.guest.devices else table.cells.devices == 0
    return np.asarray(has_cells(does & suits, 1), dtype=np.float64)


WEIGHERS = (
    Weigher("AffinityRoom", "affinity_room_weight_multiplier", _kin),
    Weigher("CellPairs", "cell_pairs_weight_multiplier", _pairs),
    Weigher("CellFragmentation", "cell_fragmentation_weight_multiplier", _tightness),
    Weigher("L3Fit", "l3_weight_multiplier", _l3),
    Weigher("Distance", "distance_weight_multiplier", _distance),
    Weigher("DeviceLocality", "device_locality_weight_multiplier", _devices),
)
