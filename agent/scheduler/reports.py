"""What agents report: hosts kept as they are told, signs of life, and reports that are known again unread."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.core.errors import BadInput
from agent.core.facts import HostFacts
from agent.core.usage import Usage
from agent.core.wire import HostReport
from agent.scheduler.presence import Presence
from agent.scheduler.state import WAITING, State
from agent.scheduler.store.records import HostRecord, InstanceRecord, Overtaken


class TakenReport(NamedTuple):
    """The last report of a host: its bytes' digest, who sent it, what runs there, and what was known after it."""

    body: bytes
    agent: str
    running: tuple[str, ...]
    facts: HostFacts
    foreign: Usage


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def _gist(known: HostRecord) -> tuple[HostFacts, Usage]:
    """The values that any other report or reading of the host replaces."""
    return known.facts, known.foreign


class Reports(State):
    """The memory of one scheduler, with what its agents say."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._presence = Presence()
        self._taken_reports: dict[str, TakenReport] = {}

    def hear(self, host: str, agent: str, running: tuple[str, ...]) -> None:
        """Who reports for a host, and which of our instances it runs; BadInput when another agent speaks for it.

        Claims of running guests do not expire any more.
        """
        with self.lock:
            self._presence.hear(
                host, agent, running, now_s=self._clock(), silent_after_s=self.settings.service_down_time_s
            )
            if self.cloud.host(host) is not None:
                self._keep_running(host, running)

    def report(self, host: HostRecord) -> None:
        """An agent's report: a heartbeat when nothing changed, else the host is kept anew."""
        with self.lock:
            host = replace(host, last_seen_s=self._clock())
            known = self.cloud.host(host.name)
            if known is not None:
                same = replace(
                    host,
                    enabled=known.enabled,
                    disabled_reason=known.disabled_reason,
                    generation=known.generation,
                    last_seen_s=known.last_seen_s,
                )
                if same == known:
                    self.seen(host.name)
                    return
            self.put_host(host)

    def know_again(self, report: HostReport, body: bytes) -> None:
        """Remember a report that was taken: until the host is another, the same bytes say nothing new."""
        with self.lock:
            known = self.cloud.host(report.hostname)
            if known is not None:
                self._taken_reports[known.name] = TakenReport(
                    _digest(body), report.agent, report.running, *_gist(known)
                )

    def heard_again(self, name: str, body: bytes) -> bool:
        """Take a report that is the last one taken once more; False when it must be read, or somebody is busy."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            last, known = self._taken_reports.get(name), self.cloud.host(name)
            if last is None or known is None or last.body != _digest(body):
                return False
            if any(one is not other for one, other in zip((last.facts, last.foreign), _gist(known), strict=True)):
                return False
            if self._unconfirmed(name, last.running):
                return False
            self.hear(name, last.agent, last.running)
            self.seen(name)
        except BadInput:
            return False
        else:
            return True
        finally:
            self.lock.release()

    def drop_host(self, name: str) -> None:
        """Forget a host, and what its agent said."""
        super().drop_host(name)
        self._presence.forget(name)
        self._taken_reports.pop(name, None)

    def seen(self, name: str) -> None:
        """A heartbeat without news."""
        with self.lock:
            self.known_host(name)
            self._heard[name] = self._clock()
            self.cloud.table.seen(name, self._heard[name])

    def _keep_running(self, host: str, running: Iterable[str]) -> None:
        """Running guests' claims that nobody confirmed yet stop expiring: it is the agent's turn to say more."""
        for instance in self._unconfirmed(host, running):
            try:
                self._update(replace(instance, expires_s=None))
            except Overtaken:
                self.refresh([host])

    def _unconfirmed(self, host: str, running: Iterable[str]) -> list[InstanceRecord]:
        """Of the instances that a host runs, those whose claims still expire."""
        held = (self.cloud.held(host, instance) for instance in running)
        return [one for one in held if one is not None and one.status in WAITING and one.expires_s is not None]
