"""The claim's own connection: all or nothing, errors in our words, and another when it was lost."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from agent.core.errors import BadInput, Unreachable
from agent.core.request import Flavor, Request
from agent.core.wire import InstanceStatus
from agent.scheduler.service import Scheduler
from agent.scheduler.store import direct
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.direct import Direct
from agent.scheduler.store.prepared import execute
from agent.scheduler.store.records import HostRecord
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host
from tests.postgres import Postgres

ADD = "INSERT INTO quotas (project, resource, most) VALUES ('p', 'cores', {})"
END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid != pg_backend_pid()"""
PINNED = Flavor(name="pinned", vcpus=2, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"})


@pytest.fixture
def line(url: str) -> Iterator[Direct]:
    engine = open_database(url)
    yield Direct(engine)
    engine.dispose()


def kept(line: Direct) -> list[int]:
    with line.alone() as connection:
        return [most for (most,) in execute(connection, "SELECT most FROM quotas", ()).rows]


def test_all_or_nothing(line: Direct) -> None:
    def add_and_fail() -> None:
        with line.transaction() as connection:
            execute(connection, ADD.format(1), ())
            raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        add_and_fail()
    assert kept(line) == []
    with line.transaction() as connection:
        execute(connection, ADD.format(2), ())
    assert kept(line) == [2]


def test_what_the_database_does_not_keep_is_bad_input_and_the_connection_works_on(line: Direct) -> None:
    placeholder = "?" if line.dialect.name == "sqlite" else "%s::bigint"
    with pytest.raises(BadInput, match=r"database: .*(too large|out of range)"), line.transaction() as connection:
        execute(connection, ADD.format(placeholder), (1 << 70,))
    with line.transaction() as connection:
        execute(connection, ADD.format(3), ())
    assert kept(line) == [3]


def test_a_connection_that_was_lost_while_idle_is_replaced_and_nobody_notices(
    postgres: Postgres, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    scheduler = Scheduler(
        open_database(postgresql_url),
        SchedulingSettings(),
        clock=lambda: 1000.0,
        new_id=lambda: f"id-{next(numbers)}",
    )
    scheduler.put_host(HostRecord(name="h", topology=host("no-smt"), agent=False))

    def claim_after_losing_all() -> InstanceStatus:
        scheduler.create(Request(name="first", flavor=PINNED))
        with transaction(scheduler.engine) as connection:
            connection.execute(text(END_OTHERS))
        return scheduler.create(Request(name="second", flavor=PINNED)).status

    with pytest.raises(Unreachable, match="database"):
        claim_after_losing_all()
    monkeypatch.setattr(direct, "IDLE_S", 0.0)
    assert claim_after_losing_all() is InstanceStatus.SCHEDULED
    scheduler.engine.dispose()


def test_dead_connections_of_the_pool_are_passed_over(postgresql_url: str) -> None:
    engine = open_database(postgresql_url)
    with engine.connect() as one, engine.connect() as two, engine.connect() as three:
        for connection in (one, two, three):
            connection.execute(text("SELECT 1"))
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute(END_OTHERS)
    assert kept(Direct(engine)) == []
    engine.dispose()
