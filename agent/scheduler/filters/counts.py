"""IoOps and NumInstances: a host with too many operations under way, or too many instances, is passed over."""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Column, Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _below(count: Column, most: Column | float) -> Mask:
    return np.asarray(count < most, dtype=np.bool_)


def _aggregate_io_ops(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    most = table.aggregates.least("max_io_ops_per_host", settings.max_io_ops_per_host, whole=True)
    return _below(table.io_ops, most)


def _aggregate_instances(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    most = table.aggregates.least("max_instances_per_host", settings.max_instances_per_host, whole=True)
    return _below(table.instances_count, most)


def _wants_io_ops(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"fewer than {settings.max_io_ops_per_host} I/O operations under way"


def _wants_instances(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"fewer than {settings.max_instances_per_host} instances"


FILTERS = (
    Filter("IoOps", lambda t, w, s: _below(t.io_ops, s.max_io_ops_per_host), _wants_io_ops),
    Filter("AggregateIoOps", _aggregate_io_ops, _wants_io_ops),
    Filter("NumInstances", lambda t, w, s: _below(t.instances_count, s.max_instances_per_host), _wants_instances),
    Filter("AggregateNumInstances", _aggregate_instances, _wants_instances),
)
