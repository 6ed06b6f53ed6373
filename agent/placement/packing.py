"""Which of several possible cells or hosts a guest should take, so that most room is left for guests of two cells.

A guest of two cells needs room on two cells of one host at once; small guests spread over both cells of every host use
that room up long before the CPUs are.  So what is free is counted in pairs of blocks, a block being what half of such a
guest takes, and the choice that destroys the fewest pairs comes first.  Among equals the cell that is left fullest
comes first (best fit), full in pCPUs or in memory, whichever is scarcer.

The engine follows this rule among the cells of one host, the scheduler's weighers among hosts.  What is free on a cell
is two numbers: pCPUs, and memory in shares, a share being what a dedicated pCPU of the host's poorest cell has, or
2 GiB if that is less.  Blocks grow with the host, for so do the guests that are run on it: they are counted in grains,
a grain being so many pCPUs that 9 to 17 of them make the largest cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

BLOCKS = ((1, 2), (2, 1), (2, 2), (4, 2))
"""Grains, and shares of memory for each pCPU of them: what half of a guest of two cells takes.

Narrower guests seldom ask for two cells.  Those that want twice the usual memory are common, and the first to find no
room; so blocks of each size are counted with that, and the commonest size with the usual memory too.  Chosen by
benchmarks/tune.py from a declared family, on half of list C1 and on random streams of guests; made by hand before, when
the lists C3 and C4 had been looked at too.
"""

GRAINS = 9
"""The largest cell has so many grains at least: the largest block is a quarter of it, or up to four ninths."""

MOST_SHARE_KIB = 2 << 20
"""Flavors seldom have more for each vCPU than this or twice this, however much memory a host has."""

Free: TypeAlias = tuple[int, int]
"""The free pCPUs and the free shares of memory of a cell."""


def kib_per_dedicated(cells: Iterable[tuple[int, int]]) -> int:
    """A share of memory on a host: what a dedicated pCPU of its poorest cell has, MOST_SHARE_KIB at most.

    ``cells`` are (KiB, dedicated pCPUs) of every cell; those without dedicated pCPUs do not count.
    """
    each = min((memory_kib // pcpus for memory_kib, pcpus in cells if pcpus), default=1)
    return max(1, min(each, MOST_SHARE_KIB))


def grain_of(pcpus: Iterable[int]) -> int:
    """The pCPUs of a grain where cells have so many dedicated ones: a power of two, so that a shift divides by it."""
    return 1 << max(0, (max(pcpus, default=0) // GRAINS).bit_length() - 1)


def blocks_in(free: Free, grain: int) -> list[int]:
    """How many blocks of each kind a cell can give."""
    pcpus, shares = free
    return [min(pcpus // (size * grain), shares // (size * grain * each)) for size, each in BLOCKS]


def pairs_of(blocks: Sequence[int]) -> int:
    """The most pairs of blocks on two distinct cells, where cell N can give ``blocks[N]``."""
    total = sum(blocks)
    return min(total // 2, total - max(blocks, default=0))


def pair_room(cells: Sequence[Free], grain: int) -> int:
    """How many pairs of equal blocks the cells of one host can give, summed over the kinds of blocks."""
    return sum([pairs_of(blocks) for blocks in zip(*[blocks_in(cell, grain) for cell in cells], strict=True)])


Counted: TypeAlias = list[tuple[int, int, list[int], int, int, int]]
"""For each kind of block: its pCPUs and shares, every cell's blocks, their sum, the largest and the second largest."""


def count_blocks(cells: Sequence[Free], grain: int) -> Counted:
    """What is free on one host in blocks, counted once for many questions to ``pair_room_lost``."""
    counted = []
    kinds = zip(*[blocks_in(cell, grain) for cell in cells], strict=True)
    for (size, each), blocks in zip(BLOCKS, kinds, strict=True):
        *_, second, largest = sorted((0, *blocks))
        counted.append((size * grain, size * grain * each, list(blocks), sum(blocks), largest, second))
    return counted


def pair_room_lost(counted: Counted, taken: int, left: Free) -> int:
    """The pair room that a guest of one cell destroys which leaves ``left`` on cell number ``taken``.

    ``pair_room`` before minus after, for the engine, which asks this for every cell of every fit.
    """
    pcpus, shares = left
    lost = 0
    for size, memory, blocks, total, largest, second in counted:
        before, after = blocks[taken], min(pcpus // size, shares // memory)
        if before != after:
            rest, most = total - before, second if before == largest else largest
            lost += min(total // 2, total - max(most, before)) - min(
                (rest + after) // 2, rest + after - max(most, after)
            )
    return lost
