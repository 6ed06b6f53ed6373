"""Drift as it appears: read, compare with the reading before, wait for libvirt's next event or the next turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import count

import msgspec

from agent.compute.driver import Driver
from agent.compute.prove import observe_host
from agent.compute.uevents import KernelEvent, PcpuEvents
from agent.core.cpuset import CpuSet
from agent.core.errors import Unreachable
from agent.core.observation import HostObservation
from agent.core.verdict import Drift, Verdict
from agent.inspection.files import Root
from agent.verification.drift import find_drift
from agent.verification.verdict import check_host


def watch_host(
    libvirt: Driver,
    *,
    names: Collection[str] | None,
    interval_s: float,
    quick: bool,
    turns: int | None = None,
    duration_s: float | None = None,
    pcpus: PcpuEvents | None = None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[Drift]:
    """Yield what drifts, what clears and what libvirt tells about guests, for ``turns`` readings or ``duration_s``.

    Without either it goes on for ever.  A guest of ``names`` that is not running is waited for.  Anything that libvirt
    tells makes the next reading due at once, and so does a pCPU that comes or goes where ``pcpus`` listens: one that
    went and came back between two readings is the cause of what drifted.  A libvirtd that goes away is told once, and
    waited for; that counts as a turn.
    """
    verdict: Verdict | None = None
    seen: HostObservation | None = None
    lost = False
    told: set[tuple[str, str]] = set()
    end = None if duration_s is None else clock() + duration_s
    for turn in count(1):
        due = clock() + interval_s
        try:
            events = pcpus.take() if pcpus else ()
            yield from _told_by_kernel(events)
            seen = _without(seen, events)
            observation, expectations = observe_host(libvirt, names=names, quick=quick, must_run=False)
            if lost:
                lost = False
                yield Drift(at=observation.collected_at, guest="", change="libvirt", message="libvirt answers again")
            judged = check_host(expectations, observation, names=names, quick=quick, before=seen)
            yield from find_drift(verdict, judged, told=told)
            verdict, seen = judged, observation
            told.clear()
            if turn == turns:
                return
            wait_until = due if end is None else min(due, end)
            idle = partial(_is_due, clock, wait_until, pcpus)
            for drift in _events(libvirt, names, idle=idle, every_s=min(interval_s, 1.0)):
                told.add((drift.guest, drift.change))
                yield drift
        except Unreachable as why:
            if not lost:
                lost = True
                yield Drift(at=Root().stamp()[0], guest="", change="libvirt", message=str(why))
            sleep(max(0.0, due - clock()))
        if turn == turns or (end is not None and clock() >= end):
            return


def _is_due(clock: Callable[[], float], due: float, pcpus: PcpuEvents | None) -> bool:
    return clock() >= due or (pcpus is not None and pcpus.waiting())


def _told_by_kernel(events: Sequence[KernelEvent]) -> Iterator[Drift]:
    for event in events:
        message = f"the kernel says: pCPU {event.pcpu} went {event.action}"
        yield Drift(at=Root().stamp()[0], guest="", change=event.action, message=message)


def _without(seen: HostObservation | None, events: Sequence[KernelEvent]) -> HostObservation | None:
    """The reading before, with every pCPU offline that was so at some time since."""
    gone = CpuSet(event.pcpu for event in events if event.action == "offline" and event.pcpu is not None)
    return seen if seen is None or not gone else msgspec.structs.replace(seen, online=seen.online - gone)


def _events(
    libvirt: Driver, names: Collection[str] | None, *, idle: Callable[[], bool], every_s: float
) -> Iterator[Drift]:
    """The first thing that happens to a watched guest before ``idle`` says that time is up; it is asked ``every_s``."""
    for event in libvirt.lifecycle(idle=idle, every_s=every_s):
        if names is None or event.domain in names:
            yield Drift(
                at=Root().stamp()[0], guest=event.domain, change=event.event, message=f"libvirt says: {event.event}"
            )
            return
