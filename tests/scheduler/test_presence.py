"""Who speaks for a host: one agent at a time, and what a host runs although it should not."""

import pytest
from msgspec.structs import replace

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, Usage
from agent.core.wire import Confirmation, HostReport, Outcome
from agent.scheduler.api.agents import take_report
from agent.scheduler.presence import Presence
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import open_database
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host

PINNED = Flavor(name="p", vcpus=2, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"})


@pytest.mark.parametrize(
    ("sentence", "heard", "taken"),
    [
        ("one agent again and again", [("a", 0), ("a", 10)], True),
        ("a second agent while the first speaks", [("a", 0), ("b", 10)], False),
        ("a second agent after the first fell silent", [("a", 0), ("b", 60)], True),
        ("an older agent has no id and is anybody", [("", 0), ("b", 1)], True),
        ("the clock was set back: whoever speaks is taken", [("a", 1000), ("b", 10)], True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hear(sentence: str, heard: list[tuple[str, float]], taken: bool) -> None:
    presence = Presence()
    presence.hear("h", heard[0][0], (), now_s=heard[0][1], silent_after_s=60)
    agent, now_s = heard[1]
    if taken:
        presence.hear("h", agent, ("i",), now_s=now_s, silent_after_s=60)
        assert presence.running("h") == ("i",)
    else:
        with pytest.raises(BadInput, match="two hosts of one name"):
            presence.hear("h", agent, ("i",), now_s=now_s, silent_after_s=60)
        assert presence.running("h") == ()


@pytest.fixture
def scheduler() -> Scheduler:
    ids = iter(range(100))
    made = Scheduler(
        open_database("sqlite://"), SchedulingSettings(), clock=lambda: 1000.0, new_id=lambda: f"i{next(ids)}"
    )
    for name in ("h1", "h2"):
        take_report(made, report(name))
    return made


def report(name: str, **more: object) -> HostReport:
    topology = replace(host("osdev-01"), hostname=name)
    return HostReport(hostname=name, agent=name, digest="d", topology=topology, facts=HostFacts(disk_gb=10), **more)  # type: ignore[arg-type]


def test_what_runs_where_it_was_taken_from_should_go(scheduler: Scheduler) -> None:
    """Moved before anybody heard that it runs: the old host is told once it says so; a stranger is not mentioned."""
    made = scheduler.create(Request(name="db", flavor=PINNED))
    before = made.host or ""
    after = scheduler.move(made.id).host
    assert after != before
    assert scheduler.assignments(before) == []
    take_report(scheduler, report(before, running=(made.id, "never-heard-of")))
    (stray,) = scheduler.assignments(before)
    assert (stray.instance, stray.placement) == (made.id, None)


def test_a_foreign_guest_on_an_instances_pcpus_is_counted_once(scheduler: Scheduler) -> None:
    made = scheduler.create(Request(name="db", flavor=PINNED))
    assert made.placement is not None
    name, owned = made.host or "", made.placement.owned()
    cell = made.placement.cells[0].host_cell
    foreign = Usage(cells=(CellUsage(id=cell, pinned=owned | CpuSet([17]), memory_kib=1024),))
    take_report(scheduler, report(name, foreign=foreign))
    (held,) = scheduler.cloud.usage(name).cells
    assert held.pinned == owned | CpuSet([17])
    scheduler.confirm(name, Confirmation(instance=made.id, outcome=Outcome.BUILDING))
    assert scheduler.cloud.usage(name).cells == (held,)
    scheduler.confirm(name, Confirmation(instance=made.id, outcome=Outcome.REFUSED, reason="taken"))
    assert scheduler.cloud.usage(name).cells == (held,)
    scheduler.confirm(name, Confirmation(instance=made.id, outcome=Outcome.GONE))
    assert scheduler.cloud.usage(name) == foreign
    assert scheduler.instance(made.id).host != name


def test_a_report_that_says_nothing_new_is_known_unread(scheduler: Scheduler) -> None:
    first, other = b"the same", b"another"
    assert not scheduler.heard_again("h1", first)
    take_report(scheduler, report("h1"), first)
    assert scheduler.heard_again("h1", first)
    assert not scheduler.heard_again("h1", other)
    assert not scheduler.heard_again("h2", first)
    scheduler.enable_host("h1", enabled=False)  # the host was read again: the next report is compared with that
    assert not scheduler.heard_again("h1", first)
    take_report(scheduler, report("h1"), first)
    assert scheduler.heard_again("h1", first)
    assert scheduler.known_host("h1").enabled is False


def test_a_claim_whose_guest_runs_is_kept_whatever_was_reported_before(scheduler: Scheduler) -> None:
    made = scheduler.create(Request(name="db", flavor=PINNED, force_host="h1"))
    runs = report("h1", running=(made.id,))
    take_report(scheduler, runs, b"runs")
    assert scheduler.instance(made.id).expires_s is None
    assert scheduler.heard_again("h1", b"runs")
    scheduler.move(made.id, request=made.request, stay=True)
    assert not scheduler.heard_again("h1", b"runs")
    take_report(scheduler, runs, b"runs")
    assert scheduler.instance(made.id).expires_s is None
    assert scheduler.heard_again("h1", b"runs")


def test_a_known_report_of_another_agent_is_read(scheduler: Scheduler) -> None:
    take_report(scheduler, report("h1"), b"one")
    with pytest.raises(BadInput, match="two hosts of one name"):
        take_report(scheduler, replace(report("h1"), agent="other"), b"two")
    assert not scheduler.heard_again("h1", b"two")
    assert scheduler.heard_again("h1", b"one")


def test_another_topology_is_believed_and_never_silent(scheduler: Scheduler, caplog: pytest.LogCaptureFixture) -> None:
    less = replace(host("osdev-01"), hostname="h1", cells=host("osdev-01").cells[:1])
    take_report(scheduler, replace(report("h1"), topology=less, digest="d2"))
    assert "host h1 has another topology" in caplog.text
    assert "cells 0, 1 → 0" in caplog.text
    known = scheduler.known_host("h1").topology
    assert known is not None
    assert [cell.id for cell in known.cells] == [0]
