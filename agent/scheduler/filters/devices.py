"""PciPassthrough: the host must have the PCI devices that are asked for, whatever cell they are on.

Whether they are near enough to the guest's cells is the exact fit's question.
"""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _devices(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    if not wanted.devices:
        return None
    passes = table.free_devices >= sum(wanted.devices.values())
    for row in np.flatnonzero(passes & table.alive).tolist():
        have = table.at(row).devices
        passes[row] = all(have.get(product, 0) >= count for product, count in wanted.devices.items())
    return np.asarray(passes, dtype=np.bool_)


def _wants_devices(wanted: Wanted, settings: SchedulingSettings) -> str:
    asked = [f"{count} × {vendor}:{product}" for (vendor, product), count in sorted(wanted.devices.items())]
    return ", ".join(asked) or "no devices"


FILTERS = (Filter("PciPassthrough", _devices, _wants_devices),)
