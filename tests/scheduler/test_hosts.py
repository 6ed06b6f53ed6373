"""Hosts as the scheduler knows them: when they fall silent, go, come back, and become others."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, event

from agent.core.errors import BadInput, Unreachable
from agent.core.facts import HostFacts
from agent.core.wire import HostReport
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.api.agents import take_report
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue, instances
from agent.scheduler.store.database import open_database
from agent.scheduler.store.prepared import Session
from agent.scheduler.store.records import HostRecord, InstanceRecord
from agent.scheduler.views import view_aggregates, view_host, view_instances
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.conftest import Clock


@pytest.fixture
def scheduler(url: str, clock: Clock) -> Iterator[Scheduler]:
    numbers = itertools.count()
    made = Scheduler(open_database(url), SchedulingSettings(), clock=clock, new_id=lambda: f"id-{next(numbers)}")
    yield made
    made.engine.dispose()


def a_host(name: str, *, text: str = "core:4", agent: bool = False) -> HostRecord:
    topology = replace(parse_synthetic(text), hostname=name)
    return HostRecord(name=name, topology=topology, facts=HostFacts(disk_gb=10), agent=agent, last_seen_s=1000.0)


def test_a_host_that_fell_silent_is_shown_as_down_before_anything_is_decided(
    scheduler: Scheduler, clock: Clock
) -> None:
    scheduler.put_host(a_host("kvm-1", agent=True))
    assert view_host(scheduler, "kvm-1").state == "up"
    clock.now_s += 3600
    assert view_host(scheduler, "kvm-1").state == "down"


def test_a_change_that_is_not_committed_is_not_taken_in(scheduler: Scheduler) -> None:
    def refuse(connection: Connection) -> None:
        raise Unreachable("database: gone")

    scheduler.put_host(a_host("kvm-1"))
    event.listen(scheduler.engine, "commit", refuse)
    with pytest.raises(Unreachable):
        scheduler.enable_host("kvm-1", enabled=False)
    event.remove(scheduler.engine, "commit", refuse)
    assert view_host(scheduler, "kvm-1").status == "enabled"
    scheduler.enable_host("kvm-1", enabled=False)
    assert view_host(scheduler, "kvm-1").status == "disabled"


def test_a_host_that_was_deleted_comes_back_to_no_aggregate(scheduler: Scheduler) -> None:
    scheduler.put_host(a_host("kvm-1"))
    scheduler.change_catalogue(lambda c: catalogue.create_aggregate(c, "rack", {"availability_zone": "az01"}))
    scheduler.change_catalogue(lambda c: catalogue.add_aggregate_host(c, "rack", "kvm-1"))
    assert view_host(scheduler, "kvm-1").zone == "az01"
    scheduler.remove_host("kvm-1")
    scheduler.put_host(a_host("kvm-1"))
    assert view_aggregates(scheduler)[0].hosts == ()
    assert view_host(scheduler, "kvm-1").zone == "nova"


def test_a_new_machine_may_have_the_name_of_one_that_was_deleted(scheduler: Scheduler) -> None:
    def send(agent: str) -> bool:
        topology = a_host("kvm-1").topology
        return take_report(scheduler, HostReport(hostname="kvm-1", agent=agent, digest="1", topology=topology))

    assert not send("old")
    with pytest.raises(BadInput, match="two hosts of one name"):
        send("new")
    scheduler.remove_host("kvm-1")
    assert not send("new")
    assert view_host(scheduler, "kvm-1").state == "up"


def test_hosts_are_listed_while_another_thread_removes_one(scheduler: Scheduler) -> None:
    class Fleeting(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> None:
            raise KeyError(name)

    scheduler.put_host(a_host("kvm-1"))
    scheduler.cloud._hosts = Fleeting(scheduler.cloud._hosts)
    assert [host.name for host in scheduler.cloud.hosts()] == ["kvm-1"]


def test_a_list_of_instances_is_read_beside_decisions(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    read, was_free = instances.load_instances, []

    def decide() -> bool:
        free = scheduler.lock.acquire(blocking=False)
        if free:
            scheduler.lock.release()
        return free

    def watched(connection: Session) -> list[InstanceRecord]:
        with ThreadPoolExecutor(1) as other:
            was_free.append(other.submit(decide).result())
        return read(connection)

    monkeypatch.setattr(instances, "load_instances", watched)
    assert view_instances(scheduler) == []
    assert was_free == [True]


def test_no_name_of_a_host_has_a_comma(scheduler: Scheduler) -> None:
    with pytest.raises(BadInput, match="host 'a,b' is no name; allowed: a name without commas"):
        take_report(scheduler, HostReport(hostname="a,b", digest="1"))


def test_a_model_that_no_host_has_any_more_is_forgotten(scheduler: Scheduler) -> None:
    for text in ("core:4", "core:8", "core:16"):
        scheduler.put_host(a_host("kvm-1", text=text))
        scheduler.put_host(a_host("kvm-2", text=text))
    known = scheduler.cloud.host("kvm-1")
    assert known is not None
    assert list(scheduler.cloud._models) == [known.model]
