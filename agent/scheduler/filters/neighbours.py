"""Filters about other instances: SameHost, DifferentHost, and server groups with affinity or anti-affinity.

Anti-affinity passes a host with fewer members than ``max_server_per_host`` (1 unless the group says otherwise), and
always the host that the instance is on already.  Affinity passes every host while the group has none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from agent.scheduler.aggregates import Column, Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def count_by_host(table: HostTable, instances: Iterable[str]) -> Column:
    """How many of these instances each host runs."""
    counts = np.zeros(table.size)
    for instance in instances:
        row = table.row_of_instance.get(instance)
        if row is not None:
            counts[row] += 1
    return counts


def _same(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    asked = wanted.hint("same_host")
    return np.asarray(count_by_host(table, asked) > 0, dtype=np.bool_) if asked else None


def _different(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    asked = wanted.hint("different_host")
    return np.asarray(count_by_host(table, asked) == 0, dtype=np.bool_) if asked else None


def _anti_affinity(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    group = wanted.group
    if group is None or group.policy != "anti-affinity":
        return None
    passes = np.asarray(count_by_host(table, group.members) < group.max_server_per_host, dtype=np.bool_)
    own = table.row_of_instance.get(wanted.instance)
    if own is not None:
        passes[own] = True
    return passes


def _affinity(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    group = wanted.group
    if group is None or group.policy != "affinity" or not group.hosts:
        return None
    passes = np.zeros(table.size, dtype=np.bool_)
    passes[[table.row_of[host] for host in sorted(group.hosts) if host in table.row_of]] = True
    return passes


def _wants_group(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"a host that keeps {wanted.group.policy} in group {wanted.group.name}" if wanted.group else "nothing"


FILTERS = (
    Filter("SameHost", _same, lambda w, s: f"the host of {', '.join(w.hint('same_host')) or 'anyone'}"),
    Filter("DifferentHost", _different, lambda w, s: f"no host of {', '.join(w.hint('different_host')) or 'anyone'}"),
    Filter("ServerGroupAntiAffinity", _anti_affinity, _wants_group),
    Filter("ServerGroupAffinity", _affinity, _wants_group),
)
