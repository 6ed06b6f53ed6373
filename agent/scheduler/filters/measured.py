"""Metrics: a host must report every metric that the metrics weigher uses."""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _metrics(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    needed = settings.metrics_weights.keys()
    if not needed:
        return None
    return np.array([host is not None and needed <= host.facts.metrics.keys() for host in table.rows], dtype=np.bool_)


FILTERS = (Filter("Metrics", _metrics, lambda w, s: f"metrics {', '.join(sorted(s.metrics_weights)) or 'none'}"),)
