"""The engine against trying everything on tiny hosts: the same yes or no, and no better answer left."""

from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.cpuset import CpuSet
from agent.core.placement import PlacedCell, Placement
from agent.core.policy import PackingPolicy
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement import place
from tests.placement import brute, strategies, validator

Question = tuple[HostTopology, Usage, Request, Limits | None]
QUICK: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@st.composite
def tiny_questions(draw: st.DrawFn, *, cells: int = 3, most_guest_cells: int = 3) -> Question:
    host = draw(strategies.hosts(most_cells=cells, most_pcpus=6 * cells))
    request = draw(strategies.requests(most_cells=most_guest_cells, most_vcpus=4))
    return host, draw(strategies.usages(host)), request, draw(strategies.limits(host))


@settings(max_examples=150, **QUICK)
@given(tiny_questions())
def test_fits_exactly_when_brute_force_finds_a_way(question: Question) -> None:
    host, usage, request, limits = question
    fits = brute.feasible(host, usage, request, limits)
    answer = place(host, usage, request, limits)
    validator.check(host, usage, request, limits, answer)
    assert answer.fits == bool(brute.assignments(fits)), (fits, answer)


@settings(max_examples=150, **QUICK)
@given(tiny_questions(most_guest_cells=1))
def test_no_choice_of_pcpus_spans_fewer_l3_groups_or_breaks_fewer_cores(question: Question) -> None:
    """On the chosen cell always; on any cell when the operator wants the least broken, which is ``balanced``."""
    host, usage, request, limits = question
    answer = place(host, usage, request, limits)
    if not isinstance(answer, Placement) or not answer.owned():
        return
    (wish,) = brute.wishes(request)
    costs = {
        cell.id: {
            option.owned: (option.spanned, option.broken)
            for option in brute.choices(host, usage, request, limits, wish, cell)
        }
        for cell in host.cells
    }
    here = costs[answer.cells[0].host_cell]
    assert here[answer.owned()] == min(here.values()), answer
    if limits is None or limits.packing is PackingPolicy.BALANCED:
        assert here[answer.owned()] == min(cost for own in costs.values() for cost in own.values()), answer


@settings(max_examples=150, **QUICK)
@given(tiny_questions(cells=4))
def test_the_cells_of_a_guest_are_the_closest_that_serve_it(question: Question) -> None:
    host, usage, request, limits = question
    answer = place(host, usage, request, limits)
    if not isinstance(answer, Placement) or len(answer.cells) < 2:
        return
    ways = brute.assignments(brute.feasible(host, usage, request, limits))

    def apart(cells: list[int]) -> int:
        distances = {cell.id: cell.distances for cell in host.cells}
        return sum(distances[one][other] for one in cells for other in cells if one != other)

    best = min(apart([host.cells[index].id for index in way]) for way in ways)
    assert apart([cell.host_cell for cell in answer.cells]) == best


def order_of(host: HostTopology, placed: list[int], costs: list[tuple[int, int]], remote: int) -> tuple[int, ...]:
    """The first places of the one order, for cells that are taken and what the best pCPUs there cost."""
    cells = {cell.id: cell for cell in host.cells}
    pairs = [(cells[one], cells[other]) for one, other in combinations(placed, 2)]
    sockets = {cell.id: {core.socket for core in cell.cores} for cell in host.cells}
    return (
        remote,
        sum(one.distances[other.id] for one, other in pairs),
        sum(max(0, spanned - 1) for spanned, _ in costs),
        sum(sockets[one.id] != sockets[other.id] for one, other in pairs),
        sum(broken for _, broken in costs),
    )


@settings(max_examples=120, **QUICK)
@given(tiny_questions(most_guest_cells=2), st.data())
def test_no_choice_of_cells_and_pcpus_is_better(question: Question, data: st.DataObject) -> None:
    """Devices, then distance, then L3 groups and sockets, then broken cores: as ``balanced`` orders them."""
    bare, usage, request, _ = question
    host = data.draw(strategies.devices(bare))
    wishes = data.draw(st.booleans())
    if wishes:
        request = strategies.wanting(request, pci_passthrough__alias="net:1", hw__pci_numa_affinity_policy="preferred")
    answer = place(host, usage, request)
    costs = [
        {
            cell.id: {
                option.owned: (option.spanned, option.broken)
                for option in brute.choices(host, usage, request, None, wish, cell)
            }
            for cell in host.cells
        }
        for wish in brute.wishes(request)
    ]
    cards = {cell.id: len(cell.devices) for cell in host.cells}

    def remote(placed: list[int]) -> int | None:
        """Cards of cells that need none; or how far the nearest card is: 1 without a cell, 2 on another cell."""
        if not wishes:
            return sum(cards[cell] for cell in placed)
        if any(cards[cell] for cell in placed):
            return 0
        return 1 if host.unplaced_devices else 2 if any(cards.values()) else None

    ways = [
        order_of(host, placed, [min(own[cell].values()) for own, cell in zip(costs, placed, strict=True)], far)
        for way in brute.assignments([[bool(own[cell.id]) for cell in host.cells] for own in costs])
        if (far := remote(placed := [host.cells[index].id for index in way])) is not None
    ]
    if not isinstance(answer, Placement):
        assert not ways
        return
    placed = [cell.host_cell for cell in answer.cells]
    far = remote(placed)
    assert far is not None
    mine = [own[cell.host_cell][_owned(cell)] for own, cell in zip(costs, answer.cells, strict=True)]
    assert order_of(host, placed, mine, far) == min(ways)


def _owned(cell: PlacedCell) -> CpuSet:
    mask = cell.reserved
    for vcpu in cell.owning():
        mask = mask | cell.pins[vcpu]
    return mask


@st.composite
def questions(draw: st.DrawFn) -> Question:
    host = draw(strategies.hosts(most_cells=8, most_pcpus=64))
    request = draw(strategies.requests(most_cells=4, most_vcpus=10))
    return host, draw(strategies.usages(host)), request, draw(strategies.limits(host))


@settings(max_examples=300, **QUICK)
@given(questions())
def test_every_placement_keeps_every_rule(question: Question) -> None:
    host, usage, request, limits = question
    validator.check(host, usage, request, limits, place(host, usage, request, limits))
