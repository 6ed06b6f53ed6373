"""Which agent speaks for a host, and what it runs of ours.  In memory: an agent repeats it with every report."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.errors import BadInput


class _Heard(NamedTuple):
    agent: str
    at_s: float
    running: tuple[str, ...]


class Presence:
    """One agent a host: a second one is refused while the first has not fallen silent."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}

    def hear(self, host: str, agent: str, running: tuple[str, ...], *, now_s: float, silent_after_s: float) -> None:
        """Take a sign of life; BadInput when another agent gave one less than ``silent_after_s`` seconds ago.

        An agent without an id (an older one) is anybody.
        """
        last = self._heard.get(host)
        if last is not None and agent and last.agent and last.agent != agent:
            age_s = now_s - last.at_s
            if 0 <= age_s < silent_after_s:
                raise BadInput(
                    f"host {host}: agent {last.agent} reported it {age_s:.0f} s ago, and this is agent {agent};"
                    f" two hosts of one name? The other is taken once the first was silent for {silent_after_s:.0f} s"
                )
        self._heard[host] = _Heard(agent, now_s, running)

    def forget(self, host: str) -> None:
        """A host is no more: any agent may speak for the next one of its name."""
        self._heard.pop(host, None)

    def running(self, host: str) -> tuple[str, ...]:
        """The ids of the instances that the host's last report said it runs."""
        heard = self._heard.get(host)
        return heard.running if heard else ()
