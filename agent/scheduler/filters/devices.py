"""PciPassthrough: the host must have the free PCI devices that are asked for, whatever cell they are on.

``pci_passthrough:alias`` names them as agent.placement.devices.matches understands it.  Whether they are near enough to
the guest's cells is the exact fit's question.
"""

from __future__ import annotations

import numpy as np

from agent.core.guest import DeviceWish
from agent.core.topology import Device
from agent.placement.devices import matches
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter, Size
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _devices(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    wishes = wanted.guest.devices
    if not wishes:
        return None
    passes = table.alive & (table.free_devices >= sum(wish.count for wish in wishes))
    verdicts: dict[int, bool] = {}  # hosts of one model that gave nothing away share one tuple
    for row in np.flatnonzero(passes).tolist():
        devices = table.at(row).devices
        if id(devices) not in verdicts:
            verdicts[id(devices)] = all(_has(devices, wish) for wish in wishes)
        passes[row] = verdicts[id(devices)]
    return np.asarray(passes, dtype=np.bool_)


def _has(devices: tuple[Device, ...], wish: DeviceWish) -> bool:
    return sum(matches(device, wish.alias) for device in devices) >= wish.count


def _wants_devices(wanted: Wanted, settings: SchedulingSettings) -> str:
    return ", ".join(f"{wish.count} × {wish.alias}" for wish in wanted.guest.devices) or "no devices"


DEVICES = Size("devices", lambda w: sum(wish.count for wish in w.guest.devices), lambda t: t.free_devices)
FILTERS = (Filter("PciPassthrough", _devices, _wants_devices, size=DEVICES),)
