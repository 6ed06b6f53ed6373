"""The cheapest assignment against trying all of them."""

from collections.abc import Callable
from itertools import combinations, permutations
from random import Random

import pytest

from agent.placement.assignment import assign
from agent.placement.cheapest import complete

Prices = list[dict[int, int]]
Late = Callable[[tuple[int, ...]], int | None]


def prices(random: Random, *, alike: bool) -> tuple[Prices, list[list[int]]]:
    """What two to six host cells cost each of one to four guest cells, and one another; some do not fit at all."""
    hosts = random.randint(2, 6)
    guests = random.randint(1, min(hosts, 4))
    pairs = [[0] * hosts for _ in range(hosts)]
    for one, other in combinations(range(hosts), 2):
        pairs[one][other] = pairs[other][one] = random.choice([random.randint(-3, 30), 12])
    own = [{host: random.randint(0, 20) for host in range(hosts) if random.random() < 0.85} for _ in range(guests)]
    return (own[:1] * guests if alike else own), pairs


def late_price(random: Random, hosts: int) -> Late:
    """As devices are: each of some host cells that is not chosen costs more, and so many of them must be."""
    wanted = {host for host in range(hosts) if random.random() < 0.4}
    least = random.randint(0, 2)
    return lambda chosen: None if len(wanted & {*chosen}) < least else 7 * len(wanted - {*chosen})


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("with_devices", [True, False])
def test_no_other_assignment_is_cheaper(alike: bool, with_devices: bool) -> None:
    random = Random(3)
    answers = 0
    for _ in range(300):
        own, pairs = prices(random, alike=alike)
        late = late_price(random, len(pairs)) if with_devices else None

        def price(
            chosen: tuple[int, ...], own: Prices = own, pairs: list[list[int]] = pairs, late: Late | None = late
        ) -> int | None:
            extra = late(chosen) if late else 0
            if extra is None or any(host not in own[guest] for guest, host in enumerate(chosen)):
                return None
            return (
                extra
                + sum(own[guest][host] for guest, host in enumerate(chosen))
                + sum(pairs[one][other] for one, other in combinations(chosen, 2))
            )

        ways = [found for way in permutations(range(len(pairs)), len(own)) if (found := price(way)) is not None]
        chosen = assign(own, pairs, alike=alike, late=late)
        assert (price(chosen) if chosen else None) == min(ways, default=None), (own, pairs)
        answers += bool(ways)
    assert answers > 100


@pytest.mark.parametrize("apart", ["alike", "pairs", "fours", "ring", "any"])
def test_six_different_guest_cells_on_ten_host_cells(apart: str) -> None:
    """As hosts are: few distances, so that many sets of host cells cost nearly the same."""
    random = Random(apart)
    hosts = range(10)
    between: dict[str, Callable[[int, int], int]] = {
        "alike": lambda one, other: 20,
        "pairs": lambda one, other: 11 if one // 2 == other // 2 else 20,
        "fours": lambda one, other: 12 if one // 4 == other // 4 else 32,
        "ring": lambda one, other: 10 + min((one - other) % 10, (other - one) % 10),
        "any": lambda one, other: Random(one * other).randint(11, 60),
    }
    pairs = [[between[apart](one, other) << 8 for other in hosts] for one in hosts]
    for _ in range(8):
        own = [{host: random.choice([0, 3, 40, 90]) for host in hosts if random.random() < 0.6} for _ in range(6)]
        ways = [
            found.total + sum(pairs[one][other] for one, other in combinations(among, 2))
            for among in combinations(hosts, 6)
            if (found := complete([{host: row[host] for host in among if host in row} for row in own])) is not None
        ]
        chosen = assign(own, pairs, alike=False)
        price = None
        if chosen is not None:
            price = sum(row[host] for row, host in zip(own, chosen, strict=True))
            price += sum(pairs[one][other] for one, other in combinations(chosen, 2))
        assert price == min(ways, default=None), own


def test_single_prices_alone() -> None:
    random = Random(4)
    for _ in range(300):
        own, _ = prices(random, alike=False)
        ways = [
            sum(row[host] for row, host in zip(own, way, strict=True))
            for way in permutations(range(6), len(own))
            if all(host in row for row, host in zip(own, way, strict=True))
        ]
        found = complete(own)
        assert (found.total if found else None) == min(ways, default=None)
