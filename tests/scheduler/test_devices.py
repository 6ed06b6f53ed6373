"""PCI devices from the flavor to the claim: asked for by alias, given by nearness, and never given twice."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from agent.core.codec import encode
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import Usage
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import migrate, open_database, transaction
from agent.scheduler.store.instances import claim
from agent.scheduler.store.records import ClaimLost, HostRecord
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.conftest import Service

DEDICATED = {"hw:cpu_policy": "dedicated"}


def card(number: int, kind: str = "net") -> Device:
    return Device(kind=kind, name=f"{kind}{number}", pci=f"0000:0{number}:00.0", vendor="8086", product="1572")


def with_devices(name: str, *cells: tuple[Device, ...]) -> HostTopology:
    """A host of two cells with these devices on each."""
    made = parse_synthetic(f"cell:2 core:4 thread:2 memory:8GiB name:{name}")
    return replace(made, cells=tuple(replace(cell, devices=mine) for cell, mine in zip(made.cells, cells, strict=True)))


CARDS = with_devices("cards", (card(1),), (card(2), card(3)))
GPU = with_devices("gpu", (), (card(4, "gpu"),))
PLAIN = with_devices("plain", (), ())


def asking(alias: str, **specs: str) -> Request:
    flavor = Flavor(name="f", vcpus=2, ram_mb=256, extra_specs={"pci_passthrough:alias": alias, **DEDICATED, **specs})
    return Request(name="vm", flavor=flavor)


@pytest.fixture
def scheduler(url: str) -> Iterator[Scheduler]:
    ids = itertools.count()
    made = Scheduler(
        open_database(url), SchedulingSettings(), clock=lambda: 1000.0, new_id=lambda: f"i{next(ids)}", claim_s=60
    )
    for topology in (CARDS, GPU, PLAIN):
        made.put_host(HostRecord(name=topology.hostname, topology=topology, agent=False))
    yield made
    made.engine.dispose()


def owners(scheduler: Scheduler) -> dict[str, str]:
    """PCI address → instance, as the database has it."""
    with transaction(scheduler.engine) as connection:
        return {row.pci: row.instance for row in connection.execute(text("SELECT * FROM devices"))}


def test_devices_run_out_and_come_back(scheduler: Scheduler) -> None:
    made = [scheduler.create(asking("8086.1572:1")) for _ in range(5)]
    assert sorted(str(one.host) for one in made) == ["None", "cards", "cards", "cards", "gpu"]
    assert len(owners(scheduler)) == 4
    assert "PciPassthrough removed" in made[-1].reason
    assert "(wants 1 × 8086.1572)" in made[-1].reason
    scheduler.delete(made[1].id)
    again = scheduler.create(asking("net"))
    assert again.placement is not None
    assert made[1].placement is not None
    assert again.placement.devices == made[1].placement.devices


def test_devices_are_given_on_the_cell_of_the_guest(scheduler: Scheduler) -> None:
    placed = scheduler.create(asking("net:2", **{"hw:pci_numa_affinity_policy": "required"})).placement
    assert placed is not None
    assert [device.pci for device in placed.devices] == ["0000:02:00.0", "0000:03:00.0"]
    assert [cell.host_cell for cell in placed.cells] == [1]


def test_the_database_refuses_a_second_owner(scheduler: Scheduler) -> None:
    first = scheduler.create(asking("gpu:1"))
    other = scheduler.create(Request(name="other", flavor=Flavor(vcpus=1, ram_mb=64)))
    assert first.placement is not None
    thief = replace(first.placement, cells=())
    with pytest.raises(ClaimLost), transaction(scheduler.engine) as connection:
        claim(connection, other.id, thief, generation=scheduler.known_host("gpu").generation)
    assert owners(scheduler) == {"0000:04:00.0": first.id}


def test_a_guest_without_wishes_keeps_away_from_devices(scheduler: Scheduler) -> None:
    assert scheduler.create(Request(name="vm", flavor=Flavor(vcpus=2, ram_mb=256))).host == "plain"


def test_a_new_process_and_an_upgrade_know_whose_devices_are_whose(scheduler: Scheduler) -> None:
    first = scheduler.create(asking("gpu:1"))
    migrate(scheduler.engine, "0004")
    migrate(scheduler.engine)
    assert owners(scheduler) == {"0000:04:00.0": first.id}
    scheduler.load()
    assert scheduler.cloud.usage("gpu").devices == ("0000:04:00.0",)
    scheduler.delete(first.id)
    assert owners(scheduler) == {}
    assert scheduler.cloud.usage("gpu") == Usage()


def test_devices_through_the_command(service: Service, tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_bytes(encode(GPU))
    assert service.run("host", "add", "gpu-1", "--topology", str(tmp_path / "gpu.json")).returncode == 0
    words = ("flavor", "create", "--vcpus", "1", "--ram", "64", "--property", "pci_passthrough:alias=gpu:1", "gpu")
    assert service.run(*words).returncode == 0
    assert service.json("instance", "create", "--flavor", "gpu", "one")["host"] == "gpu-1"
    placed = service.json("instance", "show", "one")["placement"]
    assert [device["pci"] for device in placed["devices"]] == ["0000:04:00.0"]
    refused = service.run("instance", "create", "--flavor", "gpu", "two", "-f", "json")
    assert refused.returncode == 3
    assert "PciPassthrough removed 1 of 1 (wants 1 × gpu)" in json.loads(refused.stdout)["reason"]
    bad = service.run("flavor", "create", "--vcpus", "1", "--ram", "64", "--property", "pci_passthrough:alias=:", "bad")
    assert (bad.returncode, "is no device wish" in bad.stderr) == (2, True)
