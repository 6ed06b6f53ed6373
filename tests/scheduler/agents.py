"""Agents without hosts: they report, take up what they are assigned, confirm it, and keep a log of what they ran."""

import random
import threading
import time
from typing import Any

from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core import codec
from agent.core.errors import CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.placement import Placement
from agent.core.topology import HostTopology
from agent.core.wire import HostReport


class Census:
    """Which host runs each instance, over all agents of a test."""

    def __init__(self) -> None:
        self._host_of: dict[str, str] = {}
        self._lock = threading.Lock()

    def begin(self, instance: str, host: str) -> str | None:
        """A guest begins; the answer is another host that runs the instance already."""
        with self._lock:
            before = self._host_of.get(instance)
            self._host_of[instance] = host
            return before if before != host else None

    def end(self, instance: str, host: str) -> None:
        """A guest is gone."""
        with self._lock:
            if self._host_of.get(instance) == host:
                del self._host_of[instance]


class SimulatedAgent(threading.Thread):
    """One host's agent.  It starts a guest once BUILDING is accepted, and stops it only when it is told to.

    Now and then it hears and says nothing for a while, in the midst of its work, too: claims expire.  ``running`` are
    its guests with the pCPUs they own; ``wrongs`` says every time that two guests would share one, or that one
    instance would run on two hosts.
    """

    def __init__(
        self, topology: HostTopology, addresses: list[str], token: str, *, seed: int, census: Census, deaf_s: float
    ) -> None:
        super().__init__(daemon=True)
        self.topology = topology
        self.addresses = addresses
        self.token = token
        self.random = random.Random(seed)
        self.census = census
        self.deaf_s = deaf_s
        self.running: dict[str, set[int]] = {}
        self.places: dict[str, Any] = {}
        self.log: list[tuple[str, str]] = []
        self.wrongs: list[str] = []
        self.ending = threading.Event()

    def run(self) -> None:
        """Live until told to end; whoever does not answer is left for another."""
        while not self.ending.wait(0.1):
            client = Client(self.random.choice(self.addresses), self.token, timeout_s=20)
            try:
                for _ in range(20):
                    self._once(client)
                    if self.ending.wait(0.1):
                        return
            except Unreachable:
                continue

    def _once(self, client: Client) -> None:
        self._be_deaf(0.02)
        name = self.topology.hostname
        report = HostReport(hostname=name, digest="d", facts=HostFacts(disk_gb=1000), agent=name)
        report = replace(report, running=tuple(sorted(self.running)))
        if client.call("POST", path_of("agents", name, "report"), codec.to_tree(report))["send_topology"]:
            whole = replace(report, topology=self.topology)
            client.call("POST", path_of("agents", name, "report"), codec.to_tree(whole))
        answer = client.call("GET", path_of("agents", name, "assignments"))
        for item in sorted(answer["assignments"], key=lambda item: item["placement"] is not None):
            if item["placement"] is None:
                self.places.pop(item["instance"], None)
                if self.running.pop(item["instance"], None) is not None:
                    self.log.append(("stop", item["instance"]))
                    self.census.end(item["instance"], name)
                self._say(client, item["instance"], "gone")
            elif self.places.get(item["instance"]) != item["placement"]:
                self._take_up(client, item)
            elif item["unconfirmed"]:
                self._say(client, item["instance"], "verified")

    def _take_up(self, client: Client, item: dict[str, Any]) -> None:
        instance = item["instance"]
        if self.random.random() < 0.1:
            self._say(client, instance, "refused")
            return
        self._be_deaf(0.05)
        if not self._say(client, instance, "building"):
            return
        owned = set(codec.convert(item["placement"], Placement, source="assignment").owned())
        for other, theirs in self.running.items():
            if owned & theirs and other != instance:
                self.wrongs.append(f"{self.topology.hostname}: {instance} and {other} own {sorted(owned & theirs)}")
        self.running[instance] = owned
        self.places[instance] = item["placement"]
        self.log.append(("start", instance))
        other_host = self.census.begin(instance, self.topology.hostname)
        if other_host is not None:
            self.wrongs.append(f"{instance} begins on {self.topology.hostname} and runs on {other_host}")
        self._be_deaf(0.05)
        self._say(client, instance, "verified")

    def _be_deaf(self, chance: float) -> None:
        if self.random.random() < chance and not self.ending.is_set():
            time.sleep(self.random.uniform(0, self.deaf_s))

    def _say(self, client: Client, instance: str, outcome: str) -> bool:
        body = {"instance": instance, "outcome": outcome, "reason": "chance"}
        try:
            client.call("POST", path_of("agents", self.topology.hostname, "confirmations"), body)
        except Unreachable:
            raise
        except CellwrightError:
            return False
        return True
