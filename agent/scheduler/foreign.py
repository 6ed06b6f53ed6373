"""What others hold on a host beside what we placed there: guests that nobody asked us for, as agents report them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.usage import Usage


def besides(foreign: Usage, placements: Sequence[Placement]) -> Usage:
    """What others hold but for what is claimed: a pCPU that somebody took beside us is counted once, as ours."""
    owned, devices = CpuSet(), {device.pci for placement in placements for device in placement.devices}
    for placement in placements:
        owned = owned | placement.owned()
    cells = tuple(msgspec.structs.replace(cell, pinned=cell.pinned - owned) for cell in foreign.cells)
    return msgspec.structs.replace(foreign, cells=cells, devices=tuple(set(foreign.devices) - devices))


def is_contended(foreign: Usage, placement: Placement) -> bool:
    """Whether others hold some of what a placement claims."""
    owned = placement.owned().mask
    return any(cell.pinned.mask & owned for cell in foreign.cells) or any(
        device.pci in foreign.devices for device in placement.devices
    )
