"""Continuous proof: cheap looks at every mask, a full reading when one changed, pages now and then; drift comes out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from agent.compute.driver import Driver
from agent.compute.prove import observe_host
from agent.core.observation import HostObservation
from agent.core.verdict import Drift, Finding, Verdict
from agent.inspection.files import Root
from agent.inspection.masks import read_masks
from agent.verification.drift import find_drift
from agent.verification.verdict import check_host

CAUSES = {
    "offline": "cpu-offline",
    "libvirt was told": "libvirt",
    "taskset": "affinity",
    "cgroup": "cgroup",
    "irqbalance": "irqbalance",
    "smp_affinity": "irq-steered",
}
"""Words of a finding's cause → its short name, for a metric's label."""


class Prover:
    """What was last seen, and what drifted since; ``drifted`` counts by (code, cause)."""

    def __init__(self, libvirt: Driver) -> None:
        self._libvirt = libvirt
        self._masks: dict[str, object] = {}
        self._seen: HostObservation | None = None
        self.quick: Verdict | None = None
        self.full: Verdict | None = None
        self.drifted: Counter[tuple[str, str]] = Counter()

    def look_closely(self) -> None:
        """Judge again at the next look, whether or not a mask changed: run delays are read only then."""
        self._masks = {}

    def check_masks(self, pids: Mapping[str, int | None]) -> tuple[Drift, ...]:
        """Look at every thread of these guests; judge them when a mask is not as at the last judgement.

        A guest without a known process is not looked at: libvirt's events tell when that changes.
        """
        root = Root()
        masks: dict[str, object] = {name: read_masks(root, pid) for name, pid in pids.items() if pid is not None}
        if masks == self._masks and self.quick is not None:
            return ()
        observation, expectations = observe_host(self._libvirt, quick=True, must_run=False)
        judged = check_host(expectations, observation, quick=True, before=self._seen)
        drift = find_drift(self.quick, judged)
        self._masks, self._seen, self.quick = masks, observation, judged
        return self.counted(drift)

    def check_pages(self) -> tuple[tuple[Drift, ...], float]:
        """Read and judge pages, neighbours and interrupts too; the second answer is the CPU time it took, seconds."""
        started = time.thread_time()
        observation, expectations = observe_host(self._libvirt, must_run=False)
        judged = check_host(expectations, observation, before=self._seen)
        drift = [one for one in find_drift(self.full, judged) if one.finding is not None and one.finding.tid is None]
        self.full = judged
        return self.counted(tuple(drift)), time.thread_time() - started

    def counted(self, drift: tuple[Drift, ...]) -> tuple[Drift, ...]:
        """The same, counted by what was seen and who did it."""
        for one in drift:
            if one.change == "appeared" and one.finding is not None:
                self.drifted[one.finding.code, cause_word(one.finding)] += 1
        return drift


def cause_word(finding: Finding) -> str:
    """The short name of a finding's cause; ``unknown`` when there is none."""
    return next((word for text, word in CAUSES.items() if text in (finding.cause or "")), "unknown")
