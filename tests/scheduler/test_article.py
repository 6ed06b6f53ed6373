"""The runs of the published article, on its five hosts, with the commands a user would type."""

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core.codec import to_tree
from agent.core.facts import HostFacts
from agent.core.wire import HostReport
from agent.inspection.synthetic import parse_synthetic
from tests.hosts import NAMED
from tests.scheduler.conftest import Service

HOSTS = tuple(f"osdev-0{number}" for number in range(1, 6))
RACKS = {"11": HOSTS[:2], "12": HOSTS[2:3], "21": HOSTS[3:4], "22": HOSTS[4:]}
"""Zone and rack → its hosts."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("cloud")
    service = Service(folder)
    service.start()
    topology = folder / "topology.json"
    topology.write_text(service.run("topology", "--synthetic", NAMED["osdev-01"], "--format", "json").stdout)
    for host in HOSTS:
        service.json("host", "add", host, "--topology", str(topology))
    service.json("flavor", "create", "--vcpus", "1", "--ram", "64", "--disk", "1", "m.tiny")
    yield service
    service.stop()


def make(cloud: Service, name: str, *words: str, flavor: str = "m.tiny") -> dict[str, str]:
    answer: dict[str, str] = cloud.json("instance", "create", "--flavor", flavor, *words, name)
    return answer


def test_fast_and_slow_io(cloud: Service) -> None:
    for speed, hosts in (("fast", HOSTS[:2]), ("slow", HOSTS[2:])):
        cloud.json("aggregate", "create", f"{speed}-io")
        cloud.json("aggregate", "set", "--property", f"io={speed}", f"{speed}-io")
        for host in hosts:
            cloud.json("aggregate", "add-host", f"{speed}-io", host)
        cloud.json("flavor", "create", "--vcpus", "1", "--ram", "64", "--disk", "1", f"m.{speed}")
        cloud.json("flavor", "set", "--property", f"io={speed}", f"m.{speed}")
        placed = {make(cloud, f"{speed}-{n}", flavor=f"m.{speed}")["host"] for n in range(3)}
        assert placed <= set(hosts)


def test_zones_with_racks(cloud: Service) -> None:
    for address, hosts in RACKS.items():
        cloud.json("aggregate", "create", "--zone", f"az0{address[0]}", f"rack-{address}")
        for host in hosts:
            cloud.json("aggregate", "add-host", f"rack-{address}", host)
    assert {row["name"]: row["hosts"] for row in cloud.json("zone", "list")} == {"az01": 3, "az02": 2}
    for zone, hosts in (("az01", HOSTS[:3]), ("az02", HOSTS[3:])):
        made = make(cloud, f"in-{zone}", "--availability-zone", zone)
        assert made["host"] in hosts
        assert made["zone"] == zone
    assert make(cloud, "exact", "--availability-zone", "az02:osdev-05")["host"] == "osdev-05"
    twice = cloud.run("aggregate", "add-host", "rack-11", "osdev-05")
    assert twice.returncode == 2
    assert "zone az02 already" in twice.stderr


def test_same_and_different_host(cloud: Service) -> None:
    first = make(cloud, "first")
    assert make(cloud, "beside", "--hint", f"same_host={first['id']}")["host"] == first["host"]
    assert make(cloud, "away", "--hint", f"different_host={first['id']}")["host"] != first["host"]


def test_eight_apart_on_five_hosts_are_five_and_three_errors(cloud: Service) -> None:
    cloud.json("group", "create", "--policy", "anti-affinity", "apart")
    statuses = [make(cloud, f"apart-{n}", "--hint", "group=apart")["status"] for n in range(8)]
    assert statuses == ["SCHEDULED"] * 5 + ["ERROR"] * 3
    rows = {row["name"]: row for row in cloud.json("instance", "list")}
    assert len({rows[f"apart-{n}"]["host"] for n in range(5)}) == 5
    assert "ServerGroupAntiAffinity removed 5 of 5" in rows["apart-7"]["reason"]
    told = cloud.run("instance", "explain", "apart-7")
    assert "5 by ServerGroupAntiAffinity" in told.stdout


def test_eight_apart_are_five_active_once_their_agents_have_verified_them(tmp_path: Path) -> None:
    service = Service(tmp_path, config="[scheduling]\nservice_down_time_s = 100000\n")
    service.start()
    agents = {host: Client(service.url, service.run("host", "token", host).stdout.strip()) for host in HOSTS}
    for host, agent in agents.items():
        topology = replace(parse_synthetic(NAMED["osdev-01"]), hostname=host)
        report = HostReport(hostname=host, digest="d", topology=topology, facts=HostFacts(disk_gb=100))
        agent.call("POST", path_of("agents", host, "report"), to_tree(report))
    service.json("flavor", "create", "--vcpus", "1", "--ram", "64", "--disk", "1", "m.tiny")
    service.json("group", "create", "--policy", "anti-affinity", "apart")
    for number in range(8):
        make(service, f"apart-{number}", "--hint", "group=apart")
    for outcome, status in (("building", "BUILDING"), ("verified", "ACTIVE")):
        for host, agent in agents.items():
            for one in agent.call("GET", path_of("agents", host, "assignments"))["assignments"]:
                said = {"instance": one["instance"], "outcome": outcome}
                agent.call("POST", path_of("agents", host, "confirmations"), said)
        statuses = [row["status"] for row in service.json("instance", "list")]
        assert Counter(statuses) == {status: 5, "ERROR": 3}
    service.stop()


def test_three_together_land_on_one_host(cloud: Service) -> None:
    cloud.json("group", "create", "--policy", "affinity", "together")
    assert len({make(cloud, f"together-{n}", "--hint", "group=together")["host"] for n in range(3)}) == 1


def test_flavors_by_address(cloud: Service) -> None:
    for address, hosts in RACKS.items():
        cloud.json("aggregate", "set", "--property", f"addr={address}", f"rack-{address}")
        flavor = f"m.addr{address}"
        cloud.json("flavor", "create", "--vcpus", "1", "--ram", "64", "--disk", "1", flavor)
        cloud.json("flavor", "set", "--property", f"addr={address}", flavor)
        made = make(cloud, f"addr-{address}", flavor=flavor)
        assert made["host"] in hosts
        assert made["zone"] == f"az0{address[0]}"
    wrong = make(cloud, "wrong", "--availability-zone", "az02", flavor="m.addr11")
    assert wrong["status"] == "ERROR"
    assert "AggregateInstanceExtraSpecs removed 2 of 2 (wants aggregates with addr=11)" in wrong["reason"]


def test_quota_of_cores(cloud: Service) -> None:
    cloud.json("quota", "set", "--cores", "2", "demo")
    make(cloud, "q1", "--project", "demo")
    make(cloud, "q2", "--project", "demo")
    refused = cloud.run("instance", "create", "--flavor", "m.tiny", "--project", "demo", "q3")
    assert refused.returncode == 1
    assert "cores quota is 2, 2 in use, 1 more wanted" in refused.stderr


def test_a_dry_run_and_explain_claim_nothing(cloud: Service, tmp_path: Path) -> None:
    before = cloud.json("instance", "list")
    told = cloud.run("instance", "create", "--flavor", "m.tiny", "--availability-zone", "moon", "--dry-run", "vm")
    assert told.returncode == 3
    assert "5 by AvailabilityZone" in told.stdout
    assert cloud.json("instance", "create", "--flavor", "m.tiny", "--dry-run", "vm")["placement"]["host"] in HOSTS
    request = tmp_path / "request.json"
    request.write_text('{"name": "vm", "flavor": {"vcpus": 100, "ram_mb": 64}, "availability_zone": null}')
    told = cloud.run("explain", "--scheduler", cloud.url, "--request", str(request))
    assert told.returncode == 3
    assert "5 by Core" in told.stdout
    assert cloud.json("instance", "list") == before


def test_several_at_once(cloud: Service) -> None:
    cloud.json("quota", "set", "--cores", "3", "bounded")
    bounded = ("instance", "create", "--flavor", "m.tiny", "--project", "bounded")
    refused = cloud.run(*bounded, "--min", "4", "many")
    assert "cores quota is 3, 0 in use, 4 more wanted" in refused.stderr
    assert not [row for row in cloud.json("instance", "list") if row["name"].startswith("many")]
    made = cloud.json(*bounded, "--min", "2", "--max", "4", "many")
    assert [row["name"] for row in made] == ["many-1", "many-2", "many-3"]
    cloud.json("group", "create", "--policy", "anti-affinity", "one-each")
    made = cloud.json("instance", "create", "--flavor", "m.tiny", "--hint", "group=one-each", "--count", "6", "some")
    assert [row["name"] for row in made] == [f"some-{number}" for number in range(1, 7)]
    assert [row["status"] for row in made] == ["SCHEDULED"] * 5 + ["ERROR"]
    assert cloud.run("instance", "create", "--flavor", "m.tiny", "--min", "3", "--max", "2", "x").returncode == 2


def test_none_of_several_when_fewer_than_the_least_fit(cloud: Service) -> None:
    cloud.json("group", "create", "--policy", "anti-affinity", "all-apart")
    words = ("instance", "create", "--flavor", "m.tiny", "--hint", "group=all-apart", "--min", "6", "six")
    made = cloud.json(*words)
    assert [row["status"] for row in made] == ["ERROR"] * 6
    assert "only 5 of at least 6 that were wanted fit: no host of 5" in made[0]["reason"]
    assert {row["host"] for row in made} == {None}
    five = cloud.json("instance", "create", "--flavor", "m.tiny", "--hint", "group=all-apart", "--min", "5", "five")
    assert {row["host"] for row in five} == set(HOSTS)


def test_columns_and_formats(cloud: Service) -> None:
    values = cloud.run("host", "list", "-f", "value", "-c", "name")
    assert values.stdout.split() == list(HOSTS)
    table = cloud.run("flavor", "list", "-c", "name", "-c", "vcpus").stdout
    assert table.startswith("+-")
    assert "| name" in table
    lines = cloud.run("host", "list", "-f", "csv", "-c", "name", "-c", "vcpus").stdout.splitlines()
    assert lines[:2] == ['"name","vcpus"', '"osdev-01",72']
    wrong = cloud.run("host", "list", "-c", "colour")
    assert wrong.returncode == 2
    assert "allowed: name, zone" in wrong.stderr


def test_what_is_claimed_survives_a_kill(tmp_path: Path, url: str) -> None:
    service = Service(tmp_path, database=url)
    service.start()
    service.json("host", "add", "osdev-01", "--synthetic", NAMED["osdev-01"])
    service.json("flavor", "create", "--vcpus", "16", "--ram", "64", "--property", "hw:cpu_policy=dedicated", "p")
    before = make(service, "db", flavor="p")
    service.stop(kill=True)
    service.start()
    rows = service.json("instance", "list")
    assert [(row["id"], row["host"]) for row in rows] == [(before["id"], "osdev-01")]
    assert service.json("host", "show", "osdev-01")["pinned"] == "16/72"
    service.stop()
