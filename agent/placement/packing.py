"""Which of several possible cells or hosts a guest should take, so that most room is left for guests of two cells.

A guest of two cells needs room on two cells of one host at once; small guests spread over both cells of every host use
that room up long before the CPUs are.  So the free units of a host are counted in pairs of blocks, and the choice
that destroys the fewest comes first; among equals the cell that is left fullest (best fit).

The engine uses this arithmetic among the cells of one host, the scheduler among hosts.  A column is an int, or a NumPy
array with one int a host: nothing here but ``+ - // abs``, so both work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Column: TypeAlias = Any
"""An int, or a NumPy array of ints with one element a host."""

BLOCKS = (8, 16, 32)
"""Units a cell gives to one half of a guest of two cells; narrower guests seldom ask for two cells."""

KIN = 2
"""The first guest of an affinity group goes where this many of its size fit, if there is such a host."""


def units(pcpus: Column, memory_kib: Column, kib_per_pcpu: int) -> Column:
    """What of a cell can be given away as pCPUs with their usual share of memory: the scarcer of the two."""
    return _smaller(pcpus, memory_kib // kib_per_pcpu)


def kib_per_dedicated(cells: Iterable[tuple[int, int]]) -> int:
    """The usual share of memory on a host: what a dedicated pCPU of its poorest cell has.

    ``cells`` are (KiB, dedicated pCPUs) of every cell; those without dedicated pCPUs do not count.
    """
    return max(1, min((memory_kib // pcpus for memory_kib, pcpus in cells if pcpus), default=1))


def pair_room(cells: Sequence[Column]) -> Column:
    """How many units the cells of one host can give in pairs of equal blocks on two distinct cells.

    For every block size: the most pairs that can be formed, ``min(sum // 2, sum - largest)``, times the size; summed
    over the sizes, so that a large pair counts more than the small ones it could be cut into.
    """
    room: Column = 0
    for size in BLOCKS:
        total: Column = 0
        largest: Column = 0
        for free in cells:
            blocks = free // size
            total = total + blocks
            largest = _larger(largest, blocks)
        room = room + size * _smaller(total // 2, total - largest)
    return room


def cost(cells: Sequence[Column], left: Mapping[int, Column]) -> tuple[Column, Column, Column]:
    """What it costs to take a guest: smaller is better, compared from the left.

    ``cells`` are the free units of every cell of a host, ``left`` what would remain on each cell that the guest takes.
    The order: pair room destroyed, then units left on the fullest of the taken cells, then units left on all of them.
    """
    after = [left.get(index, free) for index, free in enumerate(cells)]
    taken = iter(left.values())
    narrowest = total = next(taken, 0)
    for free in taken:
        narrowest = _smaller(narrowest, free)
        total = total + free
    return pair_room(cells) - pair_room(after), narrowest, total


Counted: TypeAlias = list[tuple[int, list[int], int, int, int]]
"""For each block size: the size, every cell's blocks, their sum, the largest and the second largest."""


def count_blocks(cells: Sequence[int]) -> Counted:
    """The free units of one host in blocks, counted once for many questions to ``pair_room_lost``."""
    counted = []
    for size in BLOCKS:
        blocks = [free // size for free in cells]
        *_, second, largest = sorted((0, *blocks))
        counted.append((size, blocks, sum(blocks), largest, second))
    return counted


def pair_room_lost(counted: Counted, taken: int, left: int) -> int:
    """The pair room that a guest of one cell destroys which leaves ``left`` units on cell number ``taken``.

    ``pair_room`` before minus after, for plain ints and the engine, which asks this for every cell of every fit.
    """
    lost = 0
    for size, blocks, total, largest, second in counted:
        before, after = blocks[taken], left // size
        if before != after:
            rest, most = total - before, second if before == largest else largest
            lost += size * (
                min(total // 2, total - max(most, before)) - min((rest + after) // 2, rest + after - max(most, after))
            )
    return lost


def _smaller(one: Column, other: Column) -> Column:
    return (one + other - abs(one - other)) // 2


def _larger(one: Column, other: Column) -> Column:
    return (one + other + abs(one - other)) // 2
