"""The pair arithmetic against counting by hand and against trying every pairing."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, Usage
from agent.placement import place
from agent.placement.packing import BLOCKS, cost, count_blocks, pair_room, pair_room_lost, units
from tests.hosts import host


@pytest.mark.parametrize(
    ("cells", "room", "why"),
    [
        ((), 0, "no cells, no pairs"),
        ((64,), 0, "one cell has no partner"),
        ((8, 8), 8, "one pair of the smallest block"),
        ((7, 64), 0, "seven units hold no block"),
        ((32, 32), 4 * 8 + 2 * 16 + 1 * 32, "every block size fits evenly"),
        ((16, 40), 2 * 8 + 1 * 16, "the larger cell's surplus has no partner"),
        ((8, 8, 8), 8, "three blocks make one pair"),
        ((8, 8, 16), 2 * 8, "two pairs, both with the large cell"),
    ],
)
def test_pair_room(cells: tuple[int, ...], room: int, why: str) -> None:
    assert pair_room(cells) == room, why


def most_pairs(blocks: tuple[int, ...]) -> int:
    """The most pairs of blocks on distinct cells, by trying every next pair."""
    best = 0
    for one, other in combinations(range(len(blocks)), 2):
        if blocks[one] and blocks[other]:
            rest = tuple(count - (index in (one, other)) for index, count in enumerate(blocks))
            best = max(best, 1 + most_pairs(rest))
    return best


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=0, max_size=4).map(tuple))
def test_pair_room_is_the_most_pairs_of_any_pairing(blocks: tuple[int, ...]) -> None:
    smallest = BLOCKS[0]
    expected = sum(size * most_pairs(tuple(count * smallest // size for count in blocks)) for size in BLOCKS)
    assert pair_room([count * smallest for count in blocks]) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=5), st.data())
def test_a_guest_never_creates_pair_room(cells: list[int], data: st.DataObject) -> None:
    cell = data.draw(st.integers(0, len(cells) - 1))
    left = data.draw(st.integers(0, cells[cell]))
    lost, narrowest, total = cost(cells, {cell: left})
    assert lost >= 0
    assert lost == pair_room_lost(count_blocks(cells), cell, left)
    assert narrowest == total == left


def test_a_small_guest_prefers_the_unpaired_surplus_over_the_tighter_cell() -> None:
    cells = (16, 40)
    on_tighter, on_surplus = cost(cells, {0: 8}), cost(cells, {1: 32})
    assert on_surplus < on_tighter


def test_without_pairs_at_stake_best_fit_decides() -> None:
    assert cost((6, 7), {0: 2}) < cost((6, 7), {1: 3})


def test_of_several_taken_cells_the_fullest_decides_before_their_sum() -> None:
    assert cost((8, 40), {0: 0, 1: 32})[1:] == (0, 32)


def test_the_scarcer_resource_counts() -> None:
    assert units(20, 8 * 1024, 1024) == 8
    assert units(4, 8 * 1024, 1024) == 4


@pytest.mark.parametrize(
    ("usage", "cell", "why"),
    [
        (("0-7", "16"), 1, "both are touched: four pCPUs of the surplus destroy no block of eight that has a partner"),
        (("0-7", ""), 0, "nobody touched cell 1, and it stays whole"),
        (("0-3", "16-27"), 1, "no pair of blocks is left, so the fuller cell is taken"),
    ],
)
def test_the_engine_keeps_pairs_whole(usage: tuple[str, str], cell: int, why: str) -> None:
    held = Usage(tuple(CellUsage(number, pinned=CpuSet.parse(cpus)) for number, cpus in enumerate(usage)))
    request = Request(flavor=Flavor(4, 1024, extra_specs={"hw:cpu_policy": "dedicated"}))
    answer = place(host("no-smt-16"), held, request)
    assert isinstance(answer, Placement)
    assert answer.cells[0].host_cell == cell, why
