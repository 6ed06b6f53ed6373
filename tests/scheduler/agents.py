"""Agents without hosts: they report, take up what they are assigned, confirm it, and keep a log of what they ran."""

import random
import threading
import time
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core import codec
from agent.core.errors import CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.topology import HostTopology
from agent.core.wire import HostReport


class Entry(NamedTuple):
    """A line of an agent's log: from when on a host runs an instance as placed, or (without a placement) does not."""

    at_s: float
    host: str
    instance: str
    placement: dict[str, Any] | None


class SimulatedAgent(threading.Thread):
    """One host's agent.  It starts a guest once BUILDING is accepted, and stops it only when it is told to.

    Now and then it hears and says nothing for a while, in the midst of its work, too: claims expire.  ``running`` are
    its guests with their placements; ``log`` is what began and ended, and nobody looks at it but the test's checker.
    """

    def __init__(self, topology: HostTopology, addresses: list[str], token: str, *, seed: int, deaf_s: float) -> None:
        super().__init__(daemon=True)
        self.topology = topology
        self.addresses = addresses
        self.token = token
        self.random = random.Random(seed)
        self.deaf_s = deaf_s
        self.running: dict[str, dict[str, Any]] = {}
        self.log: list[Entry] = []
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
                if self.running.pop(item["instance"], None) is not None:
                    self._note(item["instance"], None)
                self._say(client, item["instance"], "gone")
            elif self.running.get(item["instance"]) != item["placement"]:
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
        self.running[instance] = item["placement"]
        self._note(instance, item["placement"])
        self._be_deaf(0.05)
        self._say(client, instance, "verified")

    def _note(self, instance: str, placement: dict[str, Any] | None) -> None:
        self.log.append(Entry(time.monotonic(), self.topology.hostname, instance, placement))

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
