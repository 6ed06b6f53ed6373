"""Eight clients, two schedulers and one PostgreSQL that are killed at random: nothing is given twice, lost or left."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core.errors import BadInput, CellwrightError, Unreachable
from agent.core.topology import Device
from agent.inspection.synthetic import parse_synthetic
from tests.postgres import Postgres
from tests.scheduler.agents import Entry, SimulatedAgent
from tests.scheduler.checker import check_database, check_logs, rows
from tests.scheduler.conftest import Service

SETTLE_S = 180.0
"""Long enough for a busy machine; mostly it takes a few seconds."""
ENOUGH = 100
"""So many instances must have been acknowledged, and every victim killed, before there is a verdict."""
CLAIM_S = 3.0
"""Claims expire soon here, and agents are silent for up to twice as long."""
HOSTS = tuple(f"race-{number}" for number in range(1, 7))
DEDICATED = {"hw:cpu_policy": "dedicated"}
HUGE = {**DEDICATED, "hw:mem_page_size": "2MB", "hw:numa_nodes": "2"}
CARD = {**DEDICATED, "pci_passthrough:alias": "net:1"}
CARDS = tuple(Device(kind="net", name=f"eth{number}", pci=f"0000:0{number}:00.0") for number in range(3))


class Customer(threading.Thread):
    """A client that creates, moves and deletes at random, and remembers what was acknowledged."""

    def __init__(self, number: int, addresses: list[str], token: str, ending: threading.Event, *, seed: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.addresses = addresses
        self.token = token
        self.ending = ending
        self.random = random.Random(seed * 100 + number)
        self.mine: dict[str, str] = {}
        self.doubtful: set[str] = set()
        self.deleted: set[str] = set()
        self.problems: list[str] = []
        self.count = 0
        self.acknowledged = 0

    def run(self) -> None:
        while not self.ending.is_set():
            client = Client(self.random.choice(self.addresses), self.token, timeout_s=20)
            try:
                self._act(client)
            except Unreachable:
                self.ending.wait(0.1)
            except CellwrightError as why:
                if "stays" not in str(why) and "quota" not in str(why) and "being deleted" not in str(why):
                    self.problems.append(str(why))

    def _act(self, client: Client) -> None:
        chance = self.random.random()
        if chance < 0.6 or not self.mine:
            self.count += 1
            name = f"guest-{self.number}-{self.count}"
            self.doubtful.add(name)
            made = client.call("POST", path_of("instances"), {"name": name, **self._wishes()})[0]
            self.doubtful.discard(name)
            self.mine[name] = made["id"]
            self.acknowledged += 1
            return
        name = self.random.choice(sorted(self.mine))
        if chance < 0.7:
            client.call("POST", path_of("instances", self.mine[name], "migrate"), {})
            return
        instance = self.mine.pop(name)
        self.doubtful.add(name)
        try:
            client.call("DELETE", path_of("instances", instance))
        except BadInput as why:
            if "is not known" not in str(why):
                raise
        self.doubtful.discard(name)
        self.deleted.add(name)

    def _wishes(self) -> dict[str, Any]:
        kind = self.random.choice(("pinned", "card", "huge", "floating", "apart", "together", "bounded"))
        specs = {"huge": HUGE, "floating": {}, "card": CARD}.get(kind, DEDICATED)
        flavor = {"name": kind, "vcpus": self.random.choice((2, 4, 6)), "ram_mb": 1024, "extra_specs": specs}
        hints = {"group": kind} if kind in ("apart", "together") else {}
        return {"flavor": flavor, "hints": hints, "project": "small" if kind == "bounded" else ""}


@pytest.fixture
def schedulers(postgres: Postgres, postgresql_url: str, tmp_path: Path) -> Iterator[list[Service]]:
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        service = Service(folder, database=postgresql_url, config=f"[scheduler]\nclaim_s = {CLAIM_S}\n")
        service.token = made[0].token if made else ""
        service.start()
        made.append(service)
    yield made
    for service in made:
        service.stop(kill=True)


def rage(victims: Sequence[Service | Postgres], *, seed: int, seconds: float, enough: Callable[[], bool]) -> None:
    """Kill one of the victims, again and again, and start it anew; until each was killed and enough has happened."""
    chance, spared = random.Random(seed), list(victims)
    until = time.monotonic() + seconds
    while spared or time.monotonic() < until or not enough():
        time.sleep(chance.uniform(1.0, 4.0))
        victim = chance.choice(victims)
        if victim in spared:
            spared.remove(victim)
        if isinstance(victim, Postgres):
            victim.kill()
        else:
            victim.stop(kill=True)
        time.sleep(chance.uniform(0.0, 1.0))
        victim.start()


def settled(database: str, agents: list[SimulatedAgent]) -> bool:
    """Nothing waits for anybody, and every agent runs what it should; what no scheduler knows any more is its own."""
    there = rows(database, "SELECT id, host, status FROM instances")
    known = {row["id"] for row in there}
    wanted = {(row["host"], row["id"]) for row in there if row["host"] is not None}
    running = {
        (agent.topology.hostname, instance) for agent in agents for instance in list(agent.running) if instance in known
    }
    quiet = all(row["status"] in ("ACTIVE", "ERROR") for row in there)
    return wanted == running and quiet and not rows(database, "SELECT * FROM leaving")


@pytest.mark.timeout(900)
def test_nothing_is_given_twice_lost_or_left_behind(
    postgres: Postgres, schedulers: list[Service], postgresql_url: str, pytestconfig: pytest.Config
) -> None:
    seed, seconds = pytestconfig.getoption("race_seed"), pytestconfig.getoption("race_seconds")
    addresses, token = [service.url for service in schedulers], schedulers[0].token
    operator = Client(addresses[0], token)
    for policy, name in (("anti-affinity", "apart"), ("affinity", "together")):
        operator.call("POST", path_of("groups"), {"name": name, "policy": policy})
    operator.call("PUT", path_of("quotas", "small"), {"bounds": {"cores": 20}})
    agents = []
    for number, name in enumerate(HOSTS):
        topology = parse_synthetic(f"socket:2 core:8 thread:2 memory:64GiB pages:2M=4096 name:{name}")
        topology = replace(topology, unplaced_devices=CARDS)
        one = SimulatedAgent(topology, addresses, token, seed=seed + number, deaf_s=2 * CLAIM_S)
        agents.append(one)
    ending = threading.Event()
    customers = [Customer(number, addresses, token, ending, seed=seed) for number in range(8)]
    for thread in (*agents, *customers):
        thread.start()
    rage(
        (*schedulers, postgres),
        seed=seed,
        seconds=seconds,
        enough=lambda: sum(customer.acknowledged for customer in customers) > ENOUGH,
    )
    ending.set()
    for customer in customers:
        customer.join()
    until = time.monotonic() + SETTLE_S
    while not settled(postgresql_url, agents) and time.monotonic() < until:
        time.sleep(0.2)
    for agent in agents:
        agent.ending.set()
        agent.join()

    assert [problem for customer in customers for problem in customer.problems] == []
    assert check_logs(entry for agent in agents for entry in agent.log) == []
    assert check_database(postgresql_url) == []
    there = {row["name"]: row for row in rows(postgresql_url, "SELECT name, id, host, status FROM instances")}
    doubtful = {name for customer in customers for name in customer.doubtful}
    acknowledged = {name for customer in customers for name in customer.mine}
    assert acknowledged - there.keys() == set(), "acknowledged and lost"
    assert there.keys() - acknowledged - doubtful == set(), "deleted and left behind"
    assert {row["status"] for row in there.values()} <= {"ACTIVE", "ERROR"}
    for agent in agents:
        assigned = {row["id"] for row in there.values() if row["host"] == agent.topology.hostname}
        assert set(agent.running) & {row["id"] for row in there.values()} == assigned


def began(at_s: float, host: str, instance: str, *, pins: str = "", reserved: str = "", pci: str = "") -> Entry:
    cells = [{"policy": "dedicated", "pins": {"0": pins}}, {"policy": "shared", "pins": {"1": "0-7"}}]
    return Entry(at_s, host, instance, {"cells": cells, "reserved": reserved, "devices": [{"pci": pci}] if pci else []})


ONE = began(1, "h", "one", pins="1", reserved="2", pci="00:1")


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ([ONE, began(2, "h", "two", pins="3"), began(3, "g", "three", pins="1")], None),
        ([ONE, began(2, "h", "one", pins="1,3")], None),
        ([began(3, "g", "one", pins="1"), Entry(2, "h", "one", None), ONE], None),
        ([ONE, began(2, "h", "two", pins="1")], "h: two begins on ['1'] of one"),
        ([ONE, began(2, "h", "two", pins="2")], "h: two begins on ['2'] of one"),
        ([ONE, began(2, "h", "two", pci="00:1")], "h: two begins on ['00:1'] of one"),
        ([ONE, began(2, "g", "one", pins="5")], "one begins on g and runs on h"),
    ],
    ids=["apart", "placed anew", "moved", "a pCPU", "an idle sibling", "a device", "on two hosts"],
)
def test_the_checker_of_logs(entries: list[Entry], wrong: str | None) -> None:
    assert check_logs(entries) == ([] if wrong is None else [wrong])
