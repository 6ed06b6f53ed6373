"""How many more guests fit: known machines by hand, tiny ones against trying every sequence."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agent.core.claims import claim
from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, Limits, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.capacity import capacity, most_guests
from tests.hosts import host
from tests.placement import brute, strategies
from tests.placement.test_devices import FULL, HOST, wanting


def asked(vcpus: int, ram_mb: int, **specs: str) -> Request:
    return Request(name="g", flavor=Flavor(vcpus, ram_mb, extra_specs={f"hw:{key}": specs[key] for key in specs}))


AUTO = {"cw:numa_nodes": "auto"}
PINNED = {"cpu_policy": "dedicated"}
UNEVEN = PINNED | {"numa_nodes": "2", "numa_cpus.0": "0-18", "numa_cpus.1": "19"}
UNEVEN |= {"numa_mem.0": "512", "numa_mem.1": "512"}
BUSY = Usage((CellUsage(0, pinned=CpuSet.parse("0-5")), CellUsage(1, pinned=CpuSet.parse("18,54"))))
LAST = Usage((CellUsage(0, pinned=CpuSet.parse("24-27")),))
"""Of each core of smt4's first cell, its last thread."""

KNOWN = [
    ("osdev-01", Usage(), asked(4, 1024, **PINNED), 18, "72 pCPUs in fours"),
    ("osdev-01", Usage(), asked(5, 1024, **PINNED), 14, "36 pCPUs a cell hold seven fives each, not 72 in fives"),
    ("osdev-01", BUSY, asked(16, 1024, **PINNED), 3, "30 and 34 free pCPUs hold one and two sixteens"),
    ("osdev-01", Usage(), asked(4, 1024, cpu_thread_policy="isolate", **PINNED), 8, "18 cores a cell, in fours"),
    ("osdev-01", BUSY, asked(4, 1024, cpu_thread_policy="isolate", **PINNED), 7, "12 and 17 whole cores, in fours"),
    ("osdev-01", Usage(), asked(3, 1024, cpu_thread_policy="require", **PINNED), 18, "an odd guest takes two cores"),
    ("smt4", LAST, asked(2, 64, cpu_thread_policy="require", **PINNED), 12, "a third thread is of no pair"),
    ("smt4", Usage(), asked(1, 64, cpu_thread_policy="require", **PINNED), 24, "a core's last thread has no sibling"),
    ("osdev-01", Usage(), asked(4, 100 * 1024, **PINNED), 2, "memory runs out before pCPUs"),
    ("osdev-01", Usage(), asked(8, 1024, numa_nodes="2", **PINNED), 9, "four pCPUs of each cell"),
    ("osdev-01", BUSY, asked(8, 1024, numa_nodes="2", **PINNED), 7, "the fuller cell decides: 30 pCPUs"),
    ("osdev-01", Usage(), asked(6, 1536, numa_nodes="3", **PINNED), 0, "three guest cells on two cells"),
    ("eight-cells", Usage(), asked(32, 8192, numa_nodes="2", **PINNED), 8, "two halves of 16 on each of eight cells"),
    ("eight-cells", Usage(), asked(48, 12288, numa_nodes="3", **PINNED), 5, "16 halves in threes, one is left over"),
    ("osdev-01", Usage(), asked(8, 1024, numa_nodes="2", emulator_threads_policy="isolate", **PINNED), 8,
     "fours and fives fill 36 pCPUs only when the emulators take turns"),
    ("osdev-01", Usage(), asked(20, 1024, **UNEVEN), 2, "a cell of 36 holds one guest cell of 19, whatever else"),
    ("huge-pages", Usage(), asked(2, 1024, mem_page_size="1GB", numa_nodes="1"), 16, "8 pages of 1 GiB a cell"),
    ("ccx", Usage(), asked(6, 1024, **PINNED), 10, "32 pCPUs a cell in sixes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "usage", "request_", "count", "why"), KNOWN, ids=[row[4] for row in KNOWN])
def test_known_machines(name: str, usage: Usage, request_: Request, count: int, why: str) -> None:
    answer = capacity(host(name), usage, request_)
    assert (answer.count, answer.exact) == (count, True), why


def test_one_l3_group_a_guest() -> None:
    request = Request(flavor=Flavor(6, 1024, extra_specs={"hw:cpu_policy": "dedicated", "cw:l3": "one"}))
    assert capacity(host("ccx"), Usage(), request).count == 8, "eight pCPUs an L3 group hold one guest of six each"


def test_guests_placed_one_by_one_may_be_fewer_than_fit() -> None:
    """Halves for one guest each on cells 0 and 1, for two on cell 2: the fullest pair first leaves cell 2 alone."""
    eight = host("eight-cells")
    half = [CellUsage(number, pinned=CpuSet(list(eight.cells[number].cpus)[:16])) for number in (0, 1)]
    full = [CellUsage(number, pinned=eight.cells[number].cpus) for number in range(3, 8)]
    usage, request = Usage((*half, *full)), asked(32, 8192, numa_nodes="2", **PINNED)
    answer = capacity(eight, usage, request)
    assert (answer.count, answer.exact) == (2, True)
    first = place(eight, usage, request)
    assert isinstance(first, Placement)
    assert not place(eight, claim(usage, first), request).fits


def test_floating_guests_have_no_limit_without_a_ratio() -> None:
    free = capacity(host("osdev-split"), Usage(), asked(2, 1024, numa_nodes="1"))
    bound = capacity(host("osdev-split"), Usage(), asked(2, 1024, numa_nodes="1"), Limits(cpu_allocation_ratio=2.0))
    assert (free.count, free.exact) == (None, True)
    assert (bound.count, bound.exact) == (16, True)


def test_nothing_limits_floating_guests_that_do_not_even_fit_once() -> None:
    two = parse_synthetic("cell:2 core:4 memory:8GiB shared:0-3")
    split = {"numa_nodes": "2", "numa_cpus.0": "0-1", "numa_cpus.1": "2", "numa_mem.0": "512", "numa_mem.1": "512"}
    for request, reason in (
        (Request(flavor=Flavor(1, 20 * 1024, extra_specs=dict(AUTO))), "not-enough-memory"),
        (asked(3, 1024, **split), "not-enough-shared"),
    ):
        answer = capacity(two, Usage(), request)
        assert not place(two, Usage(), request).fits
        assert (answer.count, answer.at_most, answer.exact, answer.runs_out) == (0, 0, True, reason)


def test_no_more_guests_are_placed_than_anybody_asks_for() -> None:
    """Four million of the smallest guests fit on 4 TiB; nobody waits until they are all placed."""
    large = parse_synthetic("cell:8 core:16 memory:512GiB")
    answer = capacity(large, Usage(), asked(1, 1, mem_page_size="4"))
    assert (answer.count, answer.at_most, answer.exact) == (10_000, 8 * 512 * 1024, False)


@pytest.mark.parametrize(
    ("specs", "bound", "count", "why"),
    [
        (AUTO, None, None, "floating guests without ratios, however many cells they take"),
        (AUTO, Limits(cpu_allocation_ratio=2.0), 10, "2 vCPUs for each of 16 pCPUs, in threes, five guests a cell"),
        (AUTO, Limits(ram_allocation_ratio=1.0), 16, "16 GiB in single ones"),
        (AUTO | {"hw:mem_page_size": "2MB"}, None, 4, "2 GiB of pages a cell"),
        (AUTO | {"hw:cpu_policy": "dedicated"}, None, 5, "16 pCPUs in threes, the last one of both cells"),
    ],
)
def test_guests_that_may_be_split(specs: dict[str, str], bound: Limits | None, count: int | None, why: str) -> None:
    two = parse_synthetic("cell:2 core:8 memory:8GiB pages:2M=1024")
    answer = capacity(two, Usage(), Request(flavor=Flavor(3, 1024, extra_specs=dict(specs))), bound)
    assert (answer.count, answer.exact) == (count, True), why


@pytest.mark.parametrize(
    ("policy", "alias", "full", "count", "why"),
    [
        ("required", "net:1", "", 2, "the cards of cells 0 and 2, and not the one of no known cell"),
        ("legacy", "net:1", "", 3, "that one too"),
        ("legacy", "net:2", "", 1, "one card of a cell with the one of none"),
        ("required", "net:2", "", 0, "no cell has two"),
        ("socket", "net:1", "0", 2, "cell 1 takes the card of cell 0, its socket's"),
        ("required", "net:1", "0", 1, "cell 0 has no room"),
        ("preferred", "net:1", "0", 3, "any card from anywhere"),
        ("required", "gpu:1", "", 1, "one GPU"),
    ],
)
def test_devices_bound_guests_where_they_are_near_enough(
    policy: str, alias: str, full: str, count: int, why: str
) -> None:
    usage = Usage((FULL[0],)) if full else Usage()
    answer = capacity(HOST, usage, wanting(alias, pci_numa_affinity_policy=policy))
    assert (answer.count, answer.exact) == (count, True), why


def test_what_runs_out_first() -> None:
    assert capacity(host("tiny"), Usage(), asked(1, 1, **PINNED)).runs_out == "not-enough-pcpus"
    assert capacity(host("tiny"), Usage(), asked(1, 2048, **PINNED)).runs_out == "not-enough-memory"


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.integers(2, 3))
def test_most_guests_is_the_most_of_any_schedule(held: list[int], cells: int) -> None:
    assume(cells <= len(held))

    def tried(left: tuple[int, ...]) -> int:
        ways = [way for way in combinations(range(len(left)), cells) if all(left[index] for index in way)]
        return max((1 + tried(tuple(n - (i in way) for i, n in enumerate(left))) for way in ways), default=0)

    assert most_guests(held, cells) == tried(tuple(held))


STOP = 8
QUICK: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much]}


@settings(max_examples=60, **QUICK)
@given(st.data())
def test_tiny_hosts_against_every_sequence_of_choices(data: st.DataObject) -> None:
    tiny = data.draw(strategies.hosts(most_cells=2, most_pcpus=8))
    usage, limits = data.draw(strategies.usages(tiny)), data.draw(strategies.limits(tiny))
    request = data.draw(strategies.requests(most_cells=2, most_vcpus=3))
    answer = capacity(tiny, usage, request, limits)
    if answer.count is None or answer.at_most is None:
        assume(brute.assignments(brute.feasible(tiny, usage, request, limits)))
        return
    assert answer.count <= answer.at_most
    assume(answer.at_most < STOP)
    most = brute.most_guests(tiny, usage, request, limits, stop=STOP)
    assert answer.count <= most <= answer.at_most
    plain = "hw:emulator_threads_policy" not in request.flavor.extra_specs and len(set(_shapes(request))) == 1
    if plain and tiny.threads_per_core != 4:
        assert answer.exact, answer


def _shapes(request: Request) -> list[tuple[int, int]]:
    mixed = request.flavor.extra_specs["hw:cpu_policy"] == "mixed"
    return [(len(wish.vcpus), wish.memory_kib + wish.number * mixed) for wish in brute.wishes(request)]
