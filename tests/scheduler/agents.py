"""Agents without hosts: they report, take up what they are assigned, confirm it, and keep a log of what they ran."""

import random
import threading
from typing import Any

from msgspec.structs import replace

from agent.compute.client import Client, path_of
from agent.core import codec
from agent.core.errors import CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.placement import Placement
from agent.core.topology import HostTopology
from agent.core.wire import HostReport


class SimulatedAgent(threading.Thread):
    """One host's agent.  It starts a guest once BUILDING is accepted, and stops it only when it is told to.

    ``running`` are its guests with the pCPUs they own; ``wrongs`` says every time that two guests would share one.
    """

    def __init__(self, topology: HostTopology, addresses: list[str], token: str, *, seed: int) -> None:
        super().__init__(daemon=True)
        self.topology = topology
        self.addresses = addresses
        self.token = token
        self.random = random.Random(seed)
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
        if not self._say(client, instance, "building"):
            return
        owned = set(codec.convert(item["placement"], Placement, source="assignment").owned())
        for other, theirs in self.running.items():
            if owned & theirs and other != instance:
                self.wrongs.append(f"{self.topology.hostname}: {instance} and {other} own {sorted(owned & theirs)}")
        self.running[instance] = owned
        self.places[instance] = item["placement"]
        self.log.append(("start", instance))
        self._say(client, instance, "verified")

    def _say(self, client: Client, instance: str, outcome: str) -> bool:
        body = {"instance": instance, "outcome": outcome, "reason": "chance"}
        try:
            client.call("POST", path_of("agents", self.topology.hostname, "confirmations"), body)
        except Unreachable:
            raise
        except CellwrightError:
            return False
        return True
