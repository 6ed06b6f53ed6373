"""The pair arithmetic against counting by hand and against trying every pairing."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.packing import count_blocks, grain_of, kib_per_dedicated, pair_room, pair_room_lost, pairs_of


@pytest.mark.parametrize(
    ("cells", "room", "why"),
    [
        ((), 0, "no cells, no pairs"),
        (((64, 128),), 0, "one cell has no partner"),
        (((8, 16), (8, 16)), 1, "one pair of the smallest block"),
        (((7, 99), (64, 128)), 0, "seven pCPUs hold no block"),
        (((8, 15), (8, 16)), 0, "pCPUs without memory hold no block"),
        (((16, 16), (16, 16)), 2, "a block of 16 with the usual memory, and one of 8 with twice as much"),
        (((32, 64), (32, 64)), 4 + 2 + 2 + 1, "every kind of block fits evenly"),
        (((16, 32), (64, 128)), 2 + 1 + 1, "the larger cell's surplus has no partner"),
        (((8, 16), (8, 16), (8, 16)), 1, "three blocks make one pair"),
        (((8, 16), (8, 16), (16, 31)), 1, "the third has no second block"),
        (((8, 16), (8, 16), (16, 32)), 2, "two pairs, both with the large cell"),
    ],
)
def test_pair_room(cells: tuple[tuple[int, int], ...], room: int, why: str) -> None:
    assert pair_room(cells, 8) == room, why


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
def test_pairs_are_the_most_of_any_pairing(blocks: tuple[int, ...]) -> None:
    assert pairs_of(blocks) == most_pairs(blocks)


free = st.tuples(st.integers(0, 80), st.integers(0, 160))


@settings(deadline=None)
@given(st.lists(free, min_size=1, max_size=5), st.data())
def test_a_guest_never_creates_pair_room(cells: list[tuple[int, int]], data: st.DataObject) -> None:
    grain = data.draw(st.sampled_from([1, 2, 8]))
    taken = data.draw(st.integers(0, len(cells) - 1))
    left = data.draw(st.tuples(*(st.integers(0, most) for most in cells[taken])))
    lost = pair_room_lost(count_blocks(cells, grain), taken, left)
    assert lost >= 0
    assert lost == pair_room(cells, grain) - pair_room([*cells[:taken], left, *cells[taken + 1 :]], grain)


@pytest.mark.parametrize(
    ("cells", "grain", "why"),
    [
        ((136, 136), 8, "17 grains a cell"),
        ((36, 28), 4, "the largest cell decides: 9 grains"),
        ((35, 35), 2, "a power of two: 17 grains"),
        ((7, 7), 1, "no grain is less than a pCPU"),
        ((0,), 1, "a host for floating guests"),
        ((), 1, "no cells"),
    ],
)
def test_blocks_grow_with_the_host(cells: tuple[int, ...], grain: int, why: str) -> None:
    assert grain_of(cells) == grain, why


@pytest.mark.parametrize(
    ("cells", "share", "why"),
    [
        ([(64 << 20, 64)], 1 << 20, "1 GiB for each pCPU"),
        ([(64 << 20, 64), (16 << 20, 32)], 1 << 19, "the poorest cell decides"),
        ([(64 << 20, 64), (16 << 20, 0)], 1 << 20, "a cell without pCPUs has no share"),
        ([(512 << 20, 64)], 2 << 20, "no more than flavors have"),
        ([], 1, "no cells"),
    ],
)
def test_a_share_of_memory(cells: list[tuple[int, int]], share: int, why: str) -> None:
    assert kib_per_dedicated(cells) == share, why


@pytest.mark.parametrize(
    ("usage", "cell", "why"),
    [
        (("0-7", "16"), 1, "both are touched: four pCPUs of the surplus destroy no block that has a partner"),
        (("0-7", ""), 0, "nobody touched cell 1, and it stays whole"),
        (("0-3", "16-27"), 0, "the last four pCPUs of cell 1 have partners, what cell 0 has more has none"),
        (("0-5", "16-21"), 0, "as full as the other: the lowest cell"),
    ],
)
def test_the_engine_keeps_pairs_whole(usage: tuple[str, str], cell: int, why: str) -> None:
    held = Usage(tuple(CellUsage(number, pinned=CpuSet.parse(cpus)) for number, cpus in enumerate(usage)))
    request = Request(flavor=Flavor(4, 1024, extra_specs={"hw:cpu_policy": "dedicated"}))
    answer = place(parse_synthetic("socket:2 core:16 memory:64GiB"), held, request)
    assert isinstance(answer, Placement)
    assert answer.cells[0].host_cell == cell, why


def test_the_engine_counts_memory_to_the_last_gibibyte() -> None:
    """As many pCPUs and as many whole shares are free on both cells; one GiB breaks a share on cell 0 only."""
    used = ((0, "0-3", 48), (1, "16-19", 47))
    held = Usage(tuple(CellUsage(number, CpuSet.parse(cpus), memory_kib=gib << 20) for number, cpus, gib in used))
    request = Request(flavor=Flavor(1, 1024, extra_specs={"hw:cpu_policy": "dedicated"}))
    answer = place(parse_synthetic("socket:2 core:16 memory:64GiB"), held, request)
    assert isinstance(answer, Placement)
    assert answer.cells[0].host_cell == 1
