"""Core, Ram and Disk: the guest must fit into what is left, overcommit included.

Self-overcommit is refused first (a guest larger than the machine itself), then ``total × ratio − used`` is compared.
The Aggregate variants take the ratio from aggregate metadata, the least value where there are several, and fall back to
the host's own for a value that is no number.  Nova removed these after 20.0.0 in favour of Placement's inventories; the
arithmetic is that of 19.0.0.
"""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Column, Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _core(table: HostTable, wanted: Wanted, ratio: Column | float) -> Mask:
    vcpus = wanted.request.flavor.vcpus
    fits = (vcpus <= table.vcpus) & (table.vcpus * ratio - table.vcpus_used >= vcpus)
    unknown = table.vcpus == 0
    return np.asarray(unknown | fits, dtype=np.bool_)


def _ram(table: HostTable, wanted: Wanted, ratio: Column | float) -> Mask:
    ram_mb = wanted.request.flavor.ram_mb
    used = table.ram_mb - table.free_ram_mb
    return np.asarray((ram_mb <= table.ram_mb) & (table.ram_mb * ratio - used >= ram_mb), dtype=np.bool_)


def _disk(table: HostTable, wanted: Wanted, ratio: Column | float) -> Mask:
    total_mb = table.disk_gb * 1024
    used = total_mb - table.free_disk_mb
    return np.asarray((wanted.disk_mb <= total_mb) & (total_mb * ratio - used >= wanted.disk_mb), dtype=np.bool_)


def _wants_core(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"{wanted.request.flavor.vcpus} vCPUs"


def _wants_ram(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"{wanted.request.flavor.ram_mb} MiB of memory"


def _wants_disk(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"{wanted.disk_mb} MiB of disk"


FILTERS = (
    Filter("Core", lambda t, w, s: _core(t, w, t.cpu_ratio), _wants_core),
    Filter("Ram", lambda t, w, s: _ram(t, w, t.ram_ratio), _wants_ram),
    Filter("Disk", lambda t, w, s: _disk(t, w, t.disk_ratio), _wants_disk),
    Filter(
        "AggregateCore",
        lambda t, w, s: _core(t, w, t.aggregates.least("cpu_allocation_ratio", t.cpu_ratio)),
        _wants_core,
    ),
    Filter(
        "AggregateRam",
        lambda t, w, s: _ram(t, w, t.aggregates.least("ram_allocation_ratio", t.ram_ratio)),
        _wants_ram,
    ),
    Filter(
        "AggregateDisk",
        lambda t, w, s: _disk(t, w, t.aggregates.least("disk_allocation_ratio", t.disk_ratio)),
        _wants_disk,
    ),
)
