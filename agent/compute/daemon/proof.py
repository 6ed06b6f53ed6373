"""Continuous proof: cheap looks at every mask, a full reading when one changed, pages now and then; drift comes out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Set

import msgspec

from agent.compute.daemon.guests import Guests
from agent.compute.driver import Driver
from agent.compute.prove import observe_threads, read_observation, verify_pages
from agent.core.observation import HostObservation
from agent.core.verdict import Drift, Finding, Verdict
from agent.inspection.files import Root
from agent.inspection.masks import read_masks
from agent.verification.drift import find_drift
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host

CAUSES = {
    "offline": "cpu-offline",
    "libvirt was told": "libvirt",
    "taskset": "affinity",
    "cgroup": "cgroup",
    "irqbalance": "irqbalance",
    "smp_affinity": "irq-steered",
    "went or came": "cpu-hotplug",
}
"""Words of a finding's cause → its short name, for a metric's label."""


Masks = dict[int, frozenset[int]]
"""Thread id → the pCPUs it may use."""


class Prover:
    """What was last seen, and what drifted since; ``drifted`` counts by (code, cause)."""

    def __init__(self, libvirt: Driver) -> None:
        self._libvirt = libvirt
        self._masks: dict[str, Masks] = {}
        self._closely = True
        self._touched: set[str] = set()
        self._seen: HostObservation | None = None
        self._expectations: dict[str, Expectation] = {}
        self.quick: Verdict | None = None
        self.full: Verdict | None = None
        self.drifted: Counter[tuple[str, str]] = Counter()

    def look_closely(self) -> None:
        """Read every guest anew at the next look, whether or not a mask changed: run delays are read only then."""
        self._closely = True

    def look_again(self, names: Collection[str]) -> None:
        """Read these guests anew at the next look, whether or not a mask changed: they were changed since the last."""
        self._touched |= set(names)

    def check_masks(self, guests: Guests) -> tuple[Drift, ...]:
        """Look at every thread of these guests, read those anew of which one has moved, and judge.

        A guest without a known process is not looked at: libvirt's events tell when that changes.
        """
        root, pids = Root(), guests.pids
        masks = {name: read_masks(root, pid) or {} for name, pid in pids.items() if pid is not None}
        moved = {name for name, now in masks.items() if has_moved(self._masks.get(name), now, pids[name])}
        moved |= self._touched & masks.keys()
        gone = self._masks.keys() - masks.keys()
        first, self._masks = self._seen is None, masks
        observation = self._seen
        if observation is None or self._closely:
            known = [domain for domain in guests.running if domain.name in guests.expectations]
            not_checked = tuple(why for name, why in guests.wrong.items() if name in pids)
            observation = read_observation(root, known, quick=True, not_checked=not_checked)
            self._expectations, self._closely = guests.expectations, False
        elif not moved and not gone:
            return ()
        if not first and (moved or gone):  # libvirt is asked again: somebody may have told it so
            observation = self._read_again(observation, moved, gone)
        judged = check_host(self._expectations, observation, quick=True, before=self._seen)
        drift = find_drift(self.quick, judged)
        self._seen, self.quick, self._touched = observation, judged, set()
        return self.counted(drift)

    def _read_again(self, seen: HostObservation, moved: Set[str], gone: Set[str]) -> HostObservation:
        """The host as it was seen, with these guests as they are now, and without those that are gone."""
        now, expectations = observe_threads(self._libvirt, moved, must_run=False)
        kept = {one.name: one for one in seen.guests if one.name not in moved | gone}
        guests = {**kept, **{one.name: one for one in now.guests}}
        known = {name: one for name, one in self._expectations.items() if name in kept}
        self._expectations = {**known, **expectations}
        return msgspec.structs.replace(now, guests=tuple(guests[name] for name in sorted(guests)))

    def check_pages(self) -> tuple[tuple[Drift, ...], float]:
        """Read and judge pages, neighbours and interrupts too; the second answer is the CPU time it took, seconds."""
        started = time.thread_time()
        judged = verify_pages(self._libvirt, before=self._seen)
        drift = [one for one in find_drift(self.full, judged) if one.finding is not None and one.finding.tid is None]
        self.full = judged
        return self.counted(tuple(drift)), time.thread_time() - started

    def counted(self, drift: tuple[Drift, ...]) -> tuple[Drift, ...]:
        """The same, counted by what was seen and who did it."""
        for one in drift:
            if one.change == "appeared" and one.finding is not None:
                self.drifted[one.finding.code, cause_word(one.finding)] += 1
        return drift


def has_moved(before: Masks | None, now: Masks, pid: int | None) -> bool:
    """Whether a guest must be judged again: a thread has another mask, or is new and not where the main thread is.

    QEMU's workers come and go all the time; one that is like the main thread is where helpers should be.
    """
    if before is None:
        return True
    home = now.get(pid) if pid is not None else None
    return any(before.get(tid, home) != mask for tid, mask in now.items())


def cause_word(finding: Finding) -> str:
    """The short name of a finding's cause; ``unknown`` when there is none."""
    return next((word for text, word in CAUSES.items() if text in (finding.cause or "")), "unknown")
