"""Filters that look at hosts themselves: Compute, Retry, AllHosts, zones, isolation, counts, neighbours, JSON."""

import json

import pytest

from agent.core.errors import BadRequest
from agent.core.request import Image
from agent.scheduler.wanted import Group
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.tables import NOW_S, passing, row, wish

HOSTS = (
    row("up", instances=frozenset({"i1", "i2"}), facts={"metrics": {"cpu": 0.5}}),
    row("busy", facts={"stats": {"io_workload": "9", "num_instances": "60"}}),
    row("disabled", enabled=False),
    row("silent", last_seen_s=NOW_S - 61),
    row("late", last_seen_s=NOW_S - 59, instances=frozenset({"i3"})),
)
ALL = "up busy disabled silent late"
ZONES = {
    "rack-1": ({"availability_zone": "az01"}, "up busy"),
    "rack-2": ({"availability_zone": "az02"}, "disabled"),
    "ssd": ({"disk": "ssd"}, "up late"),
}


def apart(*members: str, most: int = 1) -> Group:
    return Group(name="g", policy="anti-affinity", members=frozenset(members), max_server_per_host=most)


def together(*hosts: str) -> Group:
    return Group(name="g", policy="affinity", hosts=frozenset(hosts))


def query(*words: object) -> dict[str, object]:
    return {"hints": {"query": json.dumps(words)}}


TABLE = [
    ("AllHosts", wish(), ALL, "it asks nothing"),
    ("Compute", wish(), "up busy late", "enabled, and heard from in the last minute"),
    ("Retry", wish(tried=frozenset({"up", "gone"})), "busy disabled silent late", "not where it was refused before"),
    ("AvailabilityZone", wish(), ALL, "no zone is any zone"),
    ("AvailabilityZone", wish(request={"availability_zone": "az01"}), "up busy", "the hosts of the zone's aggregates"),
    ("AvailabilityZone", wish(request={"availability_zone": "az01, az02"}), "up busy disabled", "one of several zones"),
    ("AvailabilityZone", wish(request={"availability_zone": "nova"}), "silent late", "the default zone: in no other"),
    ("AvailabilityZone", wish(request={"availability_zone": "moon"}), "", "a zone that nobody is in"),
    ("SameHost", wish(request={"hints": {"same_host": "i3"}}), "late", "beside one instance"),
    ("SameHost", wish(request={"hints": {"same_host": ["i1", "i3"]}}), "up late", "beside either"),
    ("SameHost", wish(request={"hints": {"same_host": "nobody"}}), "", "beside nobody is nowhere"),
    ("DifferentHost", wish(request={"hints": {"different_host": ["i1", "i3"]}}), "busy disabled silent", "beside none"),
    ("ServerGroupAntiAffinity", wish(group=apart("i1")), "busy disabled silent late", "no second member on a host"),
    ("ServerGroupAntiAffinity", wish(group=apart("i1", most=2)), ALL, "a second one where the group allows two"),
    ("ServerGroupAntiAffinity", wish(group=apart("i1"), instance="i1"), ALL, "its own host is no other's"),
    ("ServerGroupAffinity", wish(group=together()), ALL, "the first member goes anywhere"),
    ("ServerGroupAffinity", wish(group=together("late")), "late", "the next ones follow it"),
    ("IoOps", wish(), "up disabled silent late", "fewer than eight operations under way"),
    ("NumInstances", wish(), "up disabled silent late", "fewer than fifty instances"),
    ("Json", wish(), ALL, "no query is any host"),
    ("Json", wish(request=query("=", "$host", "up")), "up", "a variable is the host's"),
    ("Json", wish(request=query("in", "$host", "up", "late")), "up late", "in: one of several"),
    ("Json", wish(request=query("not", ["=", "$host", "up"])), "busy disabled silent late", "not"),
    ("Json", wish(request=query("and", [">", "$free_ram_mb", 9], ["=", "$host", "up"])), "up", "and"),
    ("Json", wish(request=query("or", [">", "$num_io_ops", 8], ["=", "$host", "late"])), "busy late", "or"),
    ("Json", wish(request=query("<=", "$vcpus_total", 7)), "", "comparisons are of numbers"),
    ("Json", wish(request={"hints": {"query": ['["=", "$host", "up"]']}}), "up", "a hint given once, in a list"),
    ("Json", wish(request={"hints": {"query": ["=", "$host", "late"]}}), "late", "a list that needs no decoding"),
    ("Json", wish(request=query("=", "$_row", 0)), "", "what is inside is no variable"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "wanted", "hosts", "why"), TABLE, ids=[f"{r[0]}: {r[3]}" for r in TABLE])
def test_table(rule, wanted, hosts, why):
    assert passing(rule, HOSTS, wanted, aggregates=ZONES) == hosts, why


@pytest.mark.parametrize(
    "hint", ["{}", "[", "1", 5, '["like", "$host", "up"]', '[["="]]', "[" * 100_000, '["not",' * 40 + "1" + "]" * 40]
)
def test_a_json_query_that_is_none_is_refused_by_name(hint):
    with pytest.raises(BadRequest, match="query="):
        passing("Json", HOSTS, wish(request={"hints": {"query": hint}}))


@pytest.mark.parametrize(
    ("image", "restrict", "hosts"),
    [("secret", True, "up"), ("secret", False, "up"), ("plain", True, "busy"), ("plain", False, "up busy")],
    ids=[
        "an isolated image goes to the isolated hosts",
        "also where they take others",
        "other images keep off them",
        "unless they may come",
    ],
)
def test_isolated_hosts(image, restrict, hosts):
    settings = SchedulingSettings(
        isolated_hosts=("up",), isolated_images=("secret",), restrict_isolated_hosts_to_isolated_images=restrict
    )
    wanted = wish(image=Image(name=image))
    assert passing("IsolatedHosts", HOSTS[:2], wanted, settings=settings) == hosts


@pytest.mark.parametrize("rule", ["AggregateIoOps", "AggregateNumInstances"])
def test_an_aggregate_bounds_its_hosts(rule):
    key = {"AggregateIoOps": "max_io_ops_per_host", "AggregateNumInstances": "max_instances_per_host"}[rule]
    assert passing(rule, HOSTS[:2], wish()) == "up"
    assert passing(rule, HOSTS[:2], wish(), aggregates={"a": ({key: "100"}, "busy")}) == "up busy"
    assert passing(rule, HOSTS[:2], wish(), aggregates={"a": ({key: "0"}, "up")}) == ""
    for odd in ("many", "9" * 400):
        assert passing(rule, HOSTS[:2], wish(), aggregates={"a": ({key: odd}, "busy")}) == "up"


def test_metrics_that_are_weighed_must_be_there():
    assert passing("Metrics", HOSTS, wish()) == ALL
    assert passing("Metrics", HOSTS, wish(), settings=SchedulingSettings(metrics_weights={"cpu": 1.0})) == "up"
