"""How decisions went: counted where they are made, shown by the metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from agent.core.decision import Decision

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Tally:
    """Durations of decisions with their claims, and what refused requests."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._duration = Histogram(
            "cellwright_schedule_duration_seconds",
            "Decision and claim of one instance.",
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._rejected = Counter(
            "cellwright_schedule_rejected",
            "Instances that no host could take, by the filter that left none (or the exact fit).",
            ["reason"],
            registry=self._registry,
        )
        self._lost = Counter("cellwright_claims_lost", "Claims that another was first at.", registry=self._registry)

    def decided(self, decision: Decision, duration_s: float) -> None:
        """One decision was made and, if it could be, claimed."""
        self._duration.observe(duration_s)
        if decision.placement is None:
            last = decision.trace.removed[-1].filter if decision.trace.removed else "no-hosts"
            self._rejected.labels("exact-fit" if decision.trace.misfits_count else last).inc()

    def lost(self) -> None:
        """A claim was lost."""
        self._lost.inc()

    def render(self) -> str:
        """Prometheus' text."""
        return str(generate_latest(self._registry), "utf-8")
