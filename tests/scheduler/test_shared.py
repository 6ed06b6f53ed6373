"""Two schedulers in one test on one PostgreSQL: each learns what the other did, and is right while it has not."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, text

from agent.core.errors import BadInput, QuotaExceeded, Unreachable
from agent.core.request import Flavor, Request
from agent.core.wire import Confirmation, InstanceStatus, Outcome
from agent.scheduler import follow
from agent.scheduler.decide import STALE_AFTER
from agent.scheduler.follow import Follower
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue, hosts
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.notices import Notice, listen, parse_notice
from agent.scheduler.store.records import ClaimLost, GroupRecord, HostRecord
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host

PINNED = Flavor(name="pinned", vcpus=4, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"})
TINY = host("tiny")  # two cores of two threads: one PINNED fills it
numbers = itertools.count()


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 120
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


@pytest.fixture
def pair(postgresql_url: str) -> Iterator[tuple[Scheduler, Scheduler]]:
    made = [
        Scheduler(
            open_database(postgresql_url),
            SchedulingSettings(service_down_time_s=1e9),
            clock=lambda: 1000.0,
            new_id=lambda: f"id-{next(numbers)}",
        )
        for _ in range(2)
    ]
    made[0].put_host(HostRecord(name="tiny", topology=TINY))
    made[1].load()
    yield made[0], made[1]
    for scheduler in made:
        scheduler.engine.dispose()


def ask(name: str, **wishes: str) -> Request:
    return Request(name=name, flavor=PINNED, **wishes)  # type: ignore[arg-type]


def test_what_one_does_the_other_hears(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    follower = Follower(there)
    follower.start()
    try:
        made = here.create(ask("vm"))
        assert eventually(lambda: [item.instance for item in there.assignments("tiny")] == [made.id])
        here.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
        assert eventually(lambda: "apart" in there.cloud.groups)
        here.delete(made.id)
        assert eventually(lambda: there.assignments("tiny")[0].placement is None)
        here.confirm("tiny", Confirmation(instance=made.id, outcome=Outcome.GONE))
        here.remove_host("tiny")
        assert eventually(lambda: there.cloud.host("tiny") is None)
    finally:
        follower.stop()


@pytest.mark.parametrize("why", [BadInput("database: topology of another version"), KeyError("a fault")])
def test_a_follower_goes_on_after_what_it_could_not_read(
    pair: tuple[Scheduler, Scheduler], monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    monkeypatch.setattr(follow, "CATCH_UP_EVERY_S", 0.5)
    here, there = pair
    catch_up, failed = there.catch_up, threading.Event()

    def unreadable() -> None:
        monkeypatch.setattr(there, "catch_up", catch_up)
        failed.set()
        raise why

    monkeypatch.setattr(there, "catch_up", unreadable)
    follower = Follower(there)
    follower.start()
    try:
        assert failed.wait(120)
        made = here.create(ask("vm"))
        assert eventually(lambda: [item.instance for item in there.assignments("tiny")] == [made.id])
    finally:
        follower.stop()


def test_a_host_that_two_hear_of_first_is_inserted_by_one_of_them(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    new = HostRecord(name="new", topology=replace(TINY, hostname="new"))
    lost: list[tuple[str, ...]] = []

    def second() -> None:
        try:
            there.put_host(new)
        except ClaimLost as why:
            lost.append(why.hosts)

    def waits() -> bool:
        with transaction(here.engine) as connection:
            return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())

    thread = threading.Thread(target=second)
    with transaction(here.engine) as connection:
        hosts.save_host(connection, new)
        thread.start()
        assert eventually(waits)
    thread.join(120)
    assert lost == [("new",)]
    there.put_host(new)
    assert there.cloud.host("new") is not None


def test_a_host_without_an_agent_never_falls_silent(pair: tuple[Scheduler, Scheduler]) -> None:
    for scheduler in pair:
        scheduler.change_settings(SchedulingSettings())
    here, there = pair
    here.put_host(HostRecord(name="trial", topology=replace(TINY, hostname="trial"), agent=False))
    for scheduler in pair:
        scheduler.catch_up()
        assert (scheduler.is_up("tiny"), scheduler.is_up("trial")) == (False, True)
    assert there.create(ask("vm")).host == "trial"


def test_a_claim_on_an_old_picture_is_refused_and_made_anew(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    first = here.create(ask("first"))
    second = there.create(ask("second"))
    assert (first.status, second.status) == (InstanceStatus.SCHEDULED, InstanceStatus.ERROR)
    assert there.cloud.usage("tiny") == here.cloud.usage("tiny")


def test_who_heard_nothing_for_long_finds_a_host_all_the_same(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    for number in range(60):
        here.put_host(HostRecord(name=f"more-{number:02}", topology=TINY))
    there.load()
    taken = {here.create(ask(f"vm-{number}")).host for number in range(50)}
    made = there.create(ask("late"))
    assert made.host is not None
    assert made.host not in taken
    assert lost_claims(there) <= STALE_AFTER


def lost_claims(scheduler: Scheduler) -> float:
    [line] = [line for line in scheduler.tally.render().splitlines() if line.startswith("cellwright_claims_lost_total")]
    return float(line.split()[1])


def test_what_was_not_heard_is_caught_up_with(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    here.create(ask("vm"))
    here.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    here.put_host(HostRecord(name="other", topology=TINY))
    there.catch_up()
    assert there.cloud.usage("tiny") == here.cloud.usage("tiny")
    assert "apart" in there.cloud.groups
    assert there.cloud.host("other") is not None
    here.remove_host("other")
    there.catch_up()
    assert there.cloud.host("other") is None


def test_a_host_that_one_hears_is_up_for_both(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    here.seen("tiny")
    here.catch_up()
    there.catch_up()
    assert there.cloud.table.last_seen_s[there.cloud.table.row_of["tiny"]] == 1000.0


def test_a_confirmation_and_a_deletion_do_not_overtake_each_other(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    made = here.create(ask("vm"))
    here.delete(made.id)
    there.confirm("tiny", Confirmation(instance=made.id, outcome=Outcome.VERIFIED))
    assert there.instance(made.id).status is InstanceStatus.DELETING
    there.confirm("tiny", Confirmation(instance=made.id, outcome=Outcome.GONE))
    with pytest.raises(BadInput, match="is not known"):
        here.instance(made.id)
    here.confirm("tiny", Confirmation(instance=made.id, outcome=Outcome.GONE))  # said twice is said once
    with transaction(here.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM pcpus")).scalar_one() == 0


def test_groups_and_quotas_hold_across_schedulers(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    for name in ("big-1", "big-2"):
        here.put_host(HostRecord(name=name, topology=replace(host("no-smt"), hostname=name)))
    here.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    here.change_catalogue(lambda c: catalogue.set_quotas(c, "demo", {"cores": 4}))
    there.load()
    made = [
        scheduler.create(ask(f"vm-{number}", group="apart"))
        for number, scheduler in enumerate((here, there, here, there))
    ]
    hosts = [instance.host for instance in made if instance.host is not None]
    assert len(hosts) == len(set(hosts)) == 3
    here.create(ask("one"), project="demo")
    with pytest.raises(QuotaExceeded):
        there.create(ask("two"), project="demo")


def test_a_claim_whose_guest_runs_does_not_expire(pair: tuple[Scheduler, Scheduler]) -> None:
    here, there = pair
    made = here.create(ask("vm"))
    here.hear("tiny", "agent", (made.id,))
    there.load()
    assert there.instance(made.id).expires_s is None
    assert there.expire() == []


@pytest.mark.parametrize(
    ("payload", "notice"),
    [
        ("host 12 osdev-01", Notice("osdev-01", 12)),
        ("host 3 a name with blanks", Notice("a name with blanks", 3)),
        ("gone osdev-01", Notice("osdev-01")),
        ("catalogue 7", Notice()),
    ],
)
def test_notices(payload: str, notice: Notice) -> None:
    assert parse_notice(payload) == notice


def test_a_connection_that_is_lost_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*arguments: object, **options: object) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly\n\tThis probably means the server\n")

    monkeypatch.setattr(psycopg, "connect", lose)
    with pytest.raises(Unreachable, match=r"^database: server closed the connection unexpectedly$"):
        next(listen(create_engine("postgresql+psycopg://nobody@nowhere/none"), every_s=1))
