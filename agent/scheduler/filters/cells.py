"""NUMATopology: the host must have cells for the guest's cells.

By columns first: every guest cell needs a host cell with enough of everything, and there must be as many cells that do
for some of them as the guest has cells.  The columns never refuse a host that the exact fit accepts; the exact fit has
the last word on the hosts that are tried.  With ``numa_exact`` it has it here, on every host, as in Nova.
"""

from __future__ import annotations

import numpy as np

from agent.core.guest import GuestTopology, PageWish, Shape
from agent.core.policy import CpuPolicy, ThreadPolicy
from agent.placement.engine import fit
from agent.scheduler.aggregates import Mask
from agent.scheduler.cells import CellColumns, Grid
from agent.scheduler.filters import Filter, Size
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def cells_that_do(table: HostTable, wanted: Wanted, shape: Shape) -> Mask:
    """Host × cell: whether a guest cell of this shape may go there; worked out once a decision."""
    kept: dict[tuple[int, Shape], Mask] = wanted.__dict__.setdefault("_cells_that_do", {})
    key = (table.cells.version, shape)
    if key not in kept:
        kept[key] = _do(table.cells, wanted.guest, shape)
    return kept[key]


def _do(cells: CellColumns, guest: GuestTopology, shape: Shape) -> Mask:
    memory = memory_of(cells, guest)
    if memory is None:
        return np.zeros_like(cells.free, dtype=np.bool_)
    needed = shape.dedicated + shape.extra
    do = memory >= shape.memory_kib
    do &= cells.free >= (needed if guest.cpu_policy is not CpuPolicy.SHARED else 0)
    if guest.cpu_policy is not CpuPolicy.SHARED:
        if guest.thread_policy is ThreadPolicy.ISOLATE:
            do &= cells.whole >= shape.dedicated
            if not guest.idle_siblings:
                do &= cells.plain > 0
        elif guest.thread_policy is ThreadPolicy.REQUIRE:
            do &= cells.siblings >= max(shape.dedicated, 1)
        if guest.l3 is not None and guest.l3.relation == "one":
            do &= cells.group_free >= needed
    if guest.cpu_policy is not CpuPolicy.DEDICATED:
        do &= cells.floating >= shape.floating
        do &= cells.overcommit_kib >= shape.memory_kib
    return np.asarray(do, dtype=np.bool_)


def memory_of(cells: CellColumns, guest: GuestTopology) -> Grid | None:
    """The KiB of memory that such a guest could have of each cell; None when no host has its pages."""
    if guest.page is None:
        return cells.memory_all_kib if guest.cpu_policy is CpuPolicy.SHARED else cells.memory_kib
    if guest.page is PageWish.SMALL:
        return cells.memory_kib
    if guest.page is PageWish.LARGE:
        return cells.large_kib
    if guest.page is PageWish.ANY:
        return np.maximum(cells.memory_kib, cells.large_kib)
    return cells.pages(guest.page)


def _cells(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    guest = wanted.guest
    if not guest.cells:
        return None
    passes = np.asarray(table.has_topology).copy()
    if guest.auto_cells:
        if guest.cpu_policy is not CpuPolicy.SHARED:
            dedicated = sum(shape.dedicated + shape.extra for shape in guest.cell_shapes)
            passes &= np.maximum(table.cells.free, 0).sum(axis=1) >= dedicated
    else:
        some: Mask | None = None
        for kind, shape in enumerate(guest.shapes):
            do = cells_that_do(table, wanted, shape)
            passes &= has_cells(do, guest.kinds.count(kind))
            some = do if some is None else some | do
        if some is not None and len(guest.shapes) > 1:
            passes &= has_cells(some, len(guest.cells))
    return _exactly(table, wanted, passes) if settings.numa_exact else passes


def has_cells(do: Mask, count: int) -> Mask:
    """The hosts of which at least so many cells do."""
    if count == 1:
        return np.asarray(np.logical_or.reduce(do.T))
    cells = do[:, 0].astype(np.int64)
    for place in range(1, do.shape[1]):
        cells += do[:, place]
    return np.asarray(cells >= count)


def _exactly(table: HostTable, wanted: Wanted, passes: Mask) -> Mask:
    """The hosts of a mask that the exact fit accepts."""
    for row in np.flatnonzero(passes).tolist():
        room = table.at(row).room
        passes[row] = room is not None and fit(room, wanted.guest).fits
    return passes


def _wants_cells(wanted: Wanted, settings: SchedulingSettings) -> str:
    parts = [
        f"{shape.dedicated + shape.extra} free dedicated pCPUs and {shape.memory_kib // 1024} MiB"
        if shape.dedicated
        else f"room for {shape.floating} floating vCPUs"
        for shape in wanted.guest.cell_shapes
    ]
    return "cells with " + ", ".join(parts) if parts else "nothing"


PCPUS = Size(
    "free dedicated pCPUs in a cell",
    lambda wanted: max((shape.dedicated + shape.extra for shape in wanted.guest.cell_shapes), default=0),
    lambda table: np.maximum(table.cells.free.max(axis=1), 0),
)
FILTERS = (Filter("NUMATopology", _cells, _wants_cells, size=PCPUS),)
