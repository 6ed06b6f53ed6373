"""Scheduler hints that something reads pass; all others are refused by name, unless a third party may read them."""

import pytest

from agent.core.errors import BadRequest
from agent.scheduler.hints import check_hints

ALL = ("DifferentHost", "Json", "SameHost")


@pytest.mark.parametrize(
    ("hints", "in_force"),
    [
        ({}, ()),
        ({"group": "g"}, ()),
        ({"same_host": "a", "different_host": ["b", "c"], "query": '["=", "$host", "h"]'}, ALL),
        ({"same_host": "", "different_host": [], "query": None}, ()),
    ],
    ids=["none", "a group without its filters", "all of them", "hints that ask nothing"],
)
def test_hints_that_are_taken(hints: dict[str, object], in_force: tuple[str, ...]) -> None:
    check_hints(hints, in_force=in_force, only_ours=True)


@pytest.mark.parametrize(
    ("hints", "why"),
    [
        ({"grup": "g"}, "grup=g: is no scheduler hint; allowed: different_host, group, query, same_host$"),
        ({"same_host": "a"}, "same_host=a: the filter SameHost, which would read it, is not in force$"),
        ({"query": '["=", "$host", "h"]'}, "the filter Json, which would read it, is not in force$"),
    ],
)
def test_hints_that_nothing_reads(hints: dict[str, object], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        check_hints(hints, in_force=("DifferentHost",), only_ours=True)
    check_hints(hints, in_force=("DifferentHost",), only_ours=False)
