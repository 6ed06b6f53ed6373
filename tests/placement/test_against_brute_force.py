"""The engine against trying everything on tiny hosts: the same yes or no, and no better answer left."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.placement import Placement
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
