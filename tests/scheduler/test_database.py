"""The database over its life: upgraded with data in it, refused when newer, backed up, restored, away and back."""

import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from agent.core.errors import BadInput, Unreachable
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.usage import Usage
from agent.core.wire import Confirmation, InstanceStatus, Outcome
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store.checkpoints import checkpoints
from agent.scheduler.store.database import Engine, migrate, open_database, shown, transaction
from agent.scheduler.store.records import GroupRecord, HostRecord
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host
from tests.postgres import Postgres

SPECS = {"hw:cpu_policy": "dedicated"}
PINNED = Flavor(name="pinned", vcpus=4, ram_mb=1024, extra_specs=SPECS)
HUGE = Flavor(name="huge", vcpus=2, ram_mb=1024, extra_specs={"hw:mem_page_size": "2MB"})
TABLES = "SELECT 1 FROM sqlite_master WHERE name = 'groups'"
ids = itertools.count()


def scheduler_on(engine: Engine) -> Scheduler:
    settings = SchedulingSettings(service_down_time_s=1e9)
    return Scheduler(engine, settings, clock=lambda: 1000.0, new_id=lambda: f"id-{next(ids)}")


def furnish(scheduler: Scheduler) -> None:
    """A host with huge pages, a group, a quota, an aggregate, and three instances, one in ERROR."""
    topology = host("huge-pages")
    scheduler.put_host(HostRecord(name=topology.hostname, topology=topology, facts=HostFacts(disk_gb=10), agent=False))
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "demo", {"cores": 10}))
    scheduler.change_catalogue(lambda c: catalogue.create_aggregate(c, "rack", {"availability_zone": "az01"}))
    scheduler.change_catalogue(lambda c: catalogue.add_aggregate_host(c, "rack", topology.hostname))
    scheduler.create(Request(name="one", flavor=PINNED, group="apart"), project="demo")
    scheduler.create(Request(name="two", flavor=HUGE))
    assert scheduler.create(Request(name="none", flavor=PINNED, group="apart")).status is InstanceStatus.ERROR


def contents(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Every table of the first schema, with the columns it had."""
    found = {}
    with transaction(engine) as connection:
        for table in ("hosts", "pcpus", "pools", "groups", "quotas", "aggregates", "aggregate_hosts"):
            found[table] = sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table}"))), key=repr)
        query = "SELECT id, name, status, host, request, placement, reason FROM instances"
        found["instances"] = sorted(map(tuple, connection.execute(text(query))), key=repr)
    return found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = open_database(url)
    yield made
    made.dispose()


def test_an_old_database_with_data_is_upgraded_and_works_on(engine: Engine) -> None:
    furnish(scheduler_on(engine))
    before = contents(engine)
    migrate(engine, "0001")
    with transaction(engine) as connection:
        assert "generation" not in connection.execute(text("SELECT * FROM instances")).keys()  # noqa: SIM118
    migrate(engine)
    assert contents(engine) == before
    scheduler = scheduler_on(engine)
    assert scheduler.cloud.instances("huge-pages")[0].generation == 0
    assert scheduler.create(Request(name="three", flavor=PINNED)).host == "huge-pages"
    for instance in scheduler.cloud.instances("huge-pages"):
        scheduler.delete(instance.id)
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM pcpus")).scalar_one() == 0
        assert connection.execute(text("SELECT max(used) FROM pools")).scalar_one() == 0


@pytest.mark.parametrize("newest", ["0003", "head"])
def test_what_a_moving_instance_holds_survives_an_upgrade_and_is_given_back_by_a_downgrade(
    engine: Engine, newest: str
) -> None:
    scheduler = scheduler_on(engine)
    for name in ("one", "two"):
        topology = parse_synthetic(f"cell:1 core:8 thread:1 memory:4GiB pages:2M=512 name:{name}")
        scheduler.put_host(HostRecord(name=name, topology=topology, facts=HostFacts(disk_gb=10), last_seen_s=1000.0))
    guest = scheduler.create(Request(name="guest", flavor=replace(HUGE, extra_specs={**HUGE.extra_specs, **SPECS})))
    for outcome in (Outcome.BUILDING, Outcome.VERIFIED):
        scheduler.confirm(str(guest.host), Confirmation(instance=guest.id, outcome=outcome))
    moved = scheduler.move(guest.id)
    migrate(engine, newest)
    migrate(engine)
    scheduler = scheduler_on(engine)
    if newest == "head":
        assert [left.instance for left in scheduler.cloud.leaving(str(guest.host))] == [guest.id]
        assert scheduler.instance(guest.id) == moved
    else:
        assert scheduler.cloud.usage(str(guest.host)) == Usage()
        assert scheduler.instance(guest.id) == replace(moved, waits_for=())
    with transaction(engine) as connection:
        held = connection.execute(text("SELECT count(*) FROM pcpus")).scalar_one()
        assert held == (4 if newest == "head" else 2)
        used = connection.execute(text("SELECT sum(used) FROM pools")).scalar_one()
        assert used == (1024 if newest == "head" else 512)


def test_the_database_keeps_an_instance_that_owns_pcpus(engine: Engine) -> None:
    furnish(scheduler_on(engine))
    for version in ("head", "0005", "head"):
        migrate(engine, version)
        before = contents(engine)
        with pytest.raises(IntegrityError), transaction(engine) as connection:
            connection.execute(text("DELETE FROM instances WHERE name = 'one'"))
        assert contents(engine) == before


def test_what_the_database_does_not_keep_is_bad_input(engine: Engine) -> None:
    with pytest.raises(BadInput, match=r"database: .*(too large|out of range)"), transaction(engine) as connection:
        connection.execute(text("INSERT INTO quotas VALUES ('demo', 'cores', :most)"), {"most": 1 << 70})


def test_a_newer_database_is_refused_by_name(engine: Engine, url: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInput, match=r"its schema 9999 is from a newer cellwright; this one knows up to \d+"):
        open_database(url)


@pytest.mark.parametrize("url", ["mysql://me:secret@there/x", "postgresql+none://me:secret@there/x", "me:secret@there"])
def test_what_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadInput, match="allowed: sqlite") as refused:
        open_database(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@there/x", "postgresql://me:***@there/x"),
        ("postgresql+psycopg:///x?host=/run&password=secret", "postgresql+psycopg:///x?host=%2Frun&password=hidden"),
        ("postgresql://me@there/x?sslpassword=secret", "postgresql://me@there/x?sslpassword=hidden"),
        ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
    ],
)
def test_a_database_is_named_without_its_secrets(url: str, said: str) -> None:
    assert shown(url) == said


def test_two_schedulers_may_start_on_an_empty_database_at_once(postgresql_url: str) -> None:
    program = f"from agent.scheduler.store.database import open_database; open_database({postgresql_url!r})"
    started = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[1] for process in started] == [b"", b"", b""]


def test_a_copy_of_a_running_sqlite_database_is_a_backup(tmp_path: Path) -> None:
    running = open_database(f"sqlite:///{tmp_path}/cellwright.db")
    scheduler = scheduler_on(running)
    furnish(scheduler)
    with sqlite3.connect(tmp_path / "cellwright.db") as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    copy = open_database(f"sqlite:///{tmp_path}/backup.db")
    assert contents(copy) == contents(running)
    assert scheduler_on(copy).cloud.usage("huge-pages") == scheduler.cloud.usage("huge-pages")
    for engine in (running, copy):
        engine.dispose()


def test_checkpoints_carry_what_was_committed_into_the_file(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/cellwright.db")
    with transaction(engine) as connection:
        catalogue.create_group(connection, GroupRecord("apart", "anti-affinity"))

    def groups_after_a_power_cut() -> list[tuple[str]]:
        """As if the log had not reached the disk."""
        (tmp_path / "left.db").write_bytes((tmp_path / "cellwright.db").read_bytes())
        with sqlite3.connect(tmp_path / "left.db") as left:
            try:
                return list(left.execute("SELECT name FROM groups")) if left.execute(TABLES).fetchall() else []
            except sqlite3.DatabaseError:  # copied in the middle of a checkpoint, when the log is still needed
                return []

    assert groups_after_a_power_cut() == []
    with checkpoints(engine, every_s=0.01):
        while groups_after_a_power_cut() != [("apart",)]:
            time.sleep(0.01)
    engine.dispose()


def test_a_checkpoint_that_fails_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/cellwright.db")
    tries: list[int] = []

    def fail(*_: object) -> None:
        tries.append(1)
        raise sqlite3.OperationalError("disk I/O error")

    event.listen(engine, "checkout", fail)
    with checkpoints(engine, every_s=0.01):
        while len(tries) < 3:
            time.sleep(0.01)
    assert [record.message for record in caplog.records] == [
        "database: no checkpoint: disk I/O error; trying again every 0.01 s"
    ]
    engine.dispose()


def test_a_dump_of_postgresql_restores(postgres: Postgres, postgresql_url: str) -> None:
    running = open_database(postgresql_url)
    scheduler = scheduler_on(running)
    furnish(scheduler)
    name = str(running.url.database)
    where = ("-h", str(postgres.folder), "-U", "postgres")
    postgres.run("pg_dump", *where, "-Fc", "-f", str(postgres.folder / "dump"), name)
    copy_url = postgres.create(f"{name}_copy")
    postgres.run("pg_restore", *where, "-d", f"{name}_copy", str(postgres.folder / "dump"))
    copy = open_database(copy_url)
    assert contents(copy) == contents(running)
    restored = scheduler_on(copy)
    assert restored.cloud.usage("huge-pages") == scheduler.cloud.usage("huge-pages")
    assert restored.create(Request(name="three", flavor=PINNED)).host == "huge-pages"
    for engine in (running, copy):
        engine.dispose()


def test_postgresql_goes_away_and_comes_back(postgres: Postgres, postgresql_url: str) -> None:
    scheduler = scheduler_on(open_database(postgresql_url))
    furnish(scheduler)
    postgres.kill()
    try:
        with pytest.raises(Unreachable, match="database"):
            scheduler.create(Request(name="lost", flavor=PINNED))
    finally:
        postgres.start()
    assert scheduler.create(Request(name="three", flavor=PINNED)).host == "huge-pages"
    scheduler.engine.dispose()
