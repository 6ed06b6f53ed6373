"""Core, Ram and Disk: the guest must fit into what is left, overcommit included.

Left is ``total × ratio − used``, and never more than the machine itself has: a guest larger than that is refused
whatever the ratio.  The Aggregate variants take the ratio from aggregate metadata, the least value where there are
several, and fall back to the host's own for a value that is no number.  Nova removed these after 20.0.0 in favour of
Placement's inventories; the arithmetic is that of 19.0.0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agent.scheduler.aggregates import Column
from agent.scheduler.filters import Filter, Size
from agent.scheduler.table import HostTable


def _left(total: Column, ratio: Column | float, used: Column) -> Column:
    left = total * ratio
    left -= used
    return np.minimum(left, total, out=left)


def _vcpus(table: HostTable, ratio: Column | float) -> Column:
    """A host whose pCPUs nobody knows takes any guest."""
    left = _left(table.vcpus, ratio, table.vcpus_used)
    left[table.vcpus == 0] = np.inf
    return left


def _ram_mb(table: HostTable, ratio: Column | float) -> Column:
    return _left(table.ram_mb, ratio, table.ram_mb - table.free_ram_mb)


def _disk_mb(table: HostTable, ratio: Column | float) -> Column:
    total_mb = table.disk_gb * 1024
    return _left(total_mb, ratio, total_mb - table.free_disk_mb)


def _cores(name: str, left: Callable[[HostTable], Column]) -> Filter:
    return _sized(name, Size("vCPUs", lambda w: w.request.flavor.vcpus, left))


def _ram(name: str, left: Callable[[HostTable], Column]) -> Filter:
    return _sized(name, Size("MiB of memory", lambda w: w.request.flavor.ram_mb, left))


def _disk(name: str, left: Callable[[HostTable], Column]) -> Filter:
    return _sized(name, Size("MiB of disk", lambda w: w.disk_mb, left))


def _sized(name: str, size: Size) -> Filter:
    return Filter(
        name,
        lambda t, w, s: np.asarray(size.left(t) >= size.wanted(w), dtype=np.bool_),
        lambda w, s: f"{size.wanted(w)} {size.unit}",
        size=size,
    )


FILTERS = (
    _cores("Core", lambda t: _vcpus(t, t.cpu_ratio)),
    _ram("Ram", lambda t: _ram_mb(t, t.ram_ratio)),
    _disk("Disk", lambda t: _disk_mb(t, t.disk_ratio)),
    _cores("AggregateCore", lambda t: _vcpus(t, t.aggregates.least("cpu_allocation_ratio", t.cpu_ratio))),
    _ram("AggregateRam", lambda t: _ram_mb(t, t.aggregates.least("ram_allocation_ratio", t.ram_ratio))),
    _disk("AggregateDisk", lambda t: _disk_mb(t, t.aggregates.least("disk_allocation_ratio", t.disk_ratio))),
)
