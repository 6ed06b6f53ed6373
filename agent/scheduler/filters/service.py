"""Compute, AllHosts and Retry: a host must be enabled, heard from, and not have refused this instance before."""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _compute(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    return np.asarray(table.enabled & table.up(settings.service_down_time_s), dtype=np.bool_)


def _all(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    return None


def _retry(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    if not wanted.tried:
        return None
    passes = np.ones(table.size, dtype=np.bool_)
    passes[[table.row_of[name] for name in sorted(wanted.tried) if name in table.row_of]] = False
    return passes


FILTERS = (
    Filter("Compute", _compute, lambda w, s: f"an enabled host heard from in the last {s.service_down_time_s:g} s"),
    Filter("AllHosts", _all, lambda w, s: "nothing"),
    Filter("Retry", _retry, lambda w, s: f"a host other than {', '.join(sorted(w.tried))}" if w.tried else "nothing"),
)
