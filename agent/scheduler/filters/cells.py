"""NUMATopology: the host must have cells for the guest's cells, as far as the columns can tell.

Every guest cell needs a host cell with enough free dedicated pCPUs and memory, and as many cells must do for the least
of them as the guest has cells.  The exact fit has the last word on the hosts that are tried.
"""

from __future__ import annotations

import numpy as np

from agent.core.guest import Shape
from agent.core.policy import ThreadPolicy
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def cells_that_do(table: HostTable, wanted: Wanted, shape: Shape) -> Mask:
    """Host × cell: whether a guest cell of this shape may go there."""
    cells, guest = table.cells, wanted.guest
    needed = shape.dedicated + shape.extra
    do = cells.free >= needed
    if needed and guest.thread_policy is ThreadPolicy.ISOLATE:
        do &= cells.whole >= shape.dedicated
    if shape.dedicated:
        do &= cells.memory_kib >= shape.memory_kib
    return np.asarray(do, dtype=np.bool_)


def _cells(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    guest = wanted.guest
    shapes = [guest.shapes[kind] for kind in guest.kinds]
    if not shapes:
        return None
    if wanted.guest.auto_cells:
        return np.asarray(table.has_topology)
    passes = np.asarray(table.has_topology).copy()
    fewest = np.zeros(table.size, dtype=np.int64)
    for shape in dict.fromkeys(shapes):
        count = cells_that_do(table, wanted, shape).sum(axis=1)
        passes &= count >= sum(shape == other for other in shapes)
        fewest = np.maximum(fewest, count)
    return np.asarray(passes & (fewest >= len(shapes)), dtype=np.bool_)


def _wants_cells(wanted: Wanted, settings: SchedulingSettings) -> str:
    parts = [
        f"{shape.dedicated + shape.extra} free dedicated pCPUs and {shape.memory_kib // 1024} MiB"
        if shape.dedicated
        else f"room for {shape.floating} floating vCPUs"
        for shape in wanted.guest.shapes
    ]
    return "cells with " + ", ".join(parts) if parts else "nothing"


FILTERS = (Filter("NUMATopology", _cells, _wants_cells),)
