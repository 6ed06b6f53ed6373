"""Hosts of one hardware model: one document in the database, one layout in memory, and the older schema's data kept."""

from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import create_engine, func, select, text

from agent.core import codec
from agent.core.facts import HostFacts
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.scheduler.cloud import Cloud
from agent.scheduler.service import Scheduler
from agent.scheduler.store import hosts
from agent.scheduler.store.database import migrate, open_database, transaction
from agent.scheduler.store.records import HostRecord
from agent.scheduler.store.schema import topologies
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host


def lasting(topology: HostTopology) -> HostTopology:
    """Without what changes by the minute."""
    cells = tuple(
        replace(cell, free_kib=None, pages=tuple(replace(pool, free=None) for pool in cell.pages))
        for cell in topology.cells
    )
    return replace(topology, collected_at=None, cells=cells)


def test_topologies_of_the_older_schema_are_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    migrate(engine, "0002")
    same = replace(host("osdev-01"), collected_at="2026-01-01T00:00:00Z")
    topologies_before = {
        "one": replace(same, hostname="one"),
        "two": replace(same, hostname="two", collected_at=None),
        "other": replace(host("tiny"), hostname="other"),
        "silent": None,
    }
    with engine.begin() as connection:
        for name, topology in topologies_before.items():
            connection.execute(
                text(
                    "INSERT INTO hosts (name, topology, digest, facts, foreign_usage, foreign_vcpus, foreign_ram_mb,"
                    " reserved_ram_mb, enabled, disabled_reason, agent, last_seen_s, generation)"
                    " VALUES (:name, :topology, '', :facts, :usage, 0, 0, 0, true, '', true, 0, 7)"
                ),
                {
                    "name": name,
                    "topology": None if topology is None else codec.encode(topology),
                    "facts": codec.encode(HostFacts()),
                    "usage": codec.encode(Usage()),
                },
            )
    engine.dispose()
    engine = open_database(url)
    with transaction(engine) as connection:
        after = {record.name: record for record in hosts.load_hosts(connection)}
        assert connection.execute(select(func.count()).select_from(topologies)).scalar_one() == 2
        saved = hosts.save_host(connection, replace(after["one"], topology=topologies_before["one"], model=""))
    engine.dispose()
    assert saved == after["one"]
    assert {name: record.topology for name, record in after.items()} == {
        name: topology and lasting(topology) for name, topology in topologies_before.items()
    }
    assert after["one"].model == after["two"].model != after["other"].model
    assert after["silent"].model == ""


def test_hosts_of_one_model_share_their_topology_and_answer_under_their_own_name(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/new.db")
    with transaction(engine) as connection:
        for name in ("a", "b"):
            hosts.save_host(connection, HostRecord(name=name, topology=replace(host("tiny"), hostname=name)))
    cloud = Cloud()
    with transaction(engine) as connection:
        for name in ("a", "b"):  # one by one, as reports come in
            record = hosts.load_host(connection, name)
            assert record is not None
            cloud.put_host(record, ())
    engine.dispose()
    a, b = cloud.hosts()
    assert a.topology is not None
    assert b.topology is not None
    assert (a.topology.hostname, b.topology.hostname) == ("a", "b")
    assert a.topology.cells is b.topology.cells


def test_a_topology_goes_with_the_last_host_that_has_it(url: str) -> None:
    scheduler = Scheduler(open_database(url), SchedulingSettings(), clock=lambda: 0.0, new_id=str)
    for name, model in (("a", "tiny"), ("b", "tiny"), ("a", "osdev-01"), ("b", "osdev-01"), ("b", "osdev-01")):
        topology = replace(host(model), hostname=name)
        scheduler.put_host(HostRecord(name=name, topology=topology, agent=False))
    big = scheduler.known_host("b").model
    assert kept(scheduler) == {big}
    scheduler.remove_host("a")
    assert kept(scheduler) == {big}
    scheduler.remove_host("b")
    assert kept(scheduler) == set()
    scheduler.engine.dispose()


def kept(scheduler: Scheduler) -> set[str]:
    """The digests of the topologies in the database."""
    with transaction(scheduler.engine) as connection:
        return set(connection.execute(select(topologies.c.digest)).scalars())


def test_a_host_that_was_heard_stays_heard_when_it_takes_a_guest() -> None:
    cloud = Cloud()
    cloud.put_host(HostRecord(name="a", last_seen_s=100.0), ())
    cloud.table.seen("a", 160.0)
    cloud.put_host(HostRecord(name="a", last_seen_s=100.0), ())
    assert cloud.table.last_seen_s[cloud.table.row_of["a"]] == 160.0
