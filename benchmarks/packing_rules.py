"""Servers of two cells, the simple rules of placement, and the whole scheduler as one rule more.

What ``packing.py`` and ``churn.py`` replay their guests with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from msgspec.structs import replace  # noqa: E402

from agent.core.cpuset import CpuSet  # noqa: E402
from agent.core.facts import HostFacts  # noqa: E402
from agent.core.request import Flavor, Request  # noqa: E402
from agent.core.usage import CellUsage, PageUse, Usage  # noqa: E402
from agent.core.wire import InstanceStatus  # noqa: E402
from agent.inspection.synthetic import parse_synthetic  # noqa: E402
from agent.scheduler.cloud import Cloud  # noqa: E402
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers  # noqa: E402
from agent.scheduler.select import select  # noqa: E402
from agent.scheduler.store.records import GroupRecord, HostRecord, InstanceRecord  # noqa: E402
from agent.scheduler.wanted import Meanings, Wanted  # noqa: E402
from agent.settings.scheduling import SchedulingSettings  # noqa: E402

OURS = "ours"


class Guest(NamedTuple):
    vcpus: int
    gib: int
    cells: int
    strategy: str = ""
    group: str = ""
    domain: str = ""

    def alone(self) -> Guest:
        """The same guest, and no word of its group."""
        return self._replace(strategy="", group="", domain="")


class State:
    """Free vCPUs and GiB, one row a server and one column a cell."""

    def __init__(self, vcpus: np.ndarray, gib: np.ndarray) -> None:
        self.vcpus, self.gib = vcpus, gib

    def fits(self, guest: Guest) -> np.ndarray:
        """Server × cell for a one-cell guest; for a two-cell guest, both columns say whether both cells fit."""
        fits = (self.vcpus >= guest.vcpus // guest.cells) & (self.gib >= guest.gib // guest.cells)
        return fits if guest.cells == 1 else np.repeat(fits.all(axis=1)[:, None], 2, axis=1)

    def take(self, guest: Guest, server: int, cell: int, *, times: int = 1) -> None:
        """A guest comes; with ``times`` -1 it goes."""
        cells = [cell] if guest.cells == 1 else [0, 1]
        self.vcpus[server, cells] -= times * (guest.vcpus // guest.cells)
        self.gib[server, cells] -= times * (guest.gib // guest.cells)

    def room(self, vcpus: int, gib: int) -> int:
        return int(np.minimum(self.vcpus // (vcpus // 2), self.gib // (gib // 2)).min(axis=1).sum())


Choice = tuple[int, int]
Rule = Callable[[State, Guest, np.ndarray], Choice]


def first_fit(state: State, guest: Guest, fits: np.ndarray) -> Choice:
    """The first server in the file, its first cell."""
    return divmod(int(fits.argmax()), 2)


def best_fit_cell(state: State, guest: Guest, fits: np.ndarray) -> Choice:
    """The cell (for two-cell guests, the server) with the fewest free vCPUs, then the least free memory."""
    if guest.cells == 2:
        return best_fit_server(state, guest, fits)
    return _least(fits, state.vcpus, state.gib)


def best_fit_server(state: State, guest: Guest, fits: np.ndarray) -> Choice:
    """The server with the fewest free vCPUs, then its cell with the fewest."""
    vcpus, gib = (np.repeat(both.sum(axis=1)[:, None], 2, axis=1) for both in (state.vcpus, state.gib))
    return _least(fits, vcpus, gib, state.vcpus)


def nova(sign: int) -> Rule:
    """Nova's RAM and CPU weighers at their default sizes, the cell by its NUMA strategy; -1 spread, 1 pack."""

    def rule(state: State, guest: Guest, fits: np.ndarray) -> Choice:
        passing = np.flatnonzero(fits.any(axis=1))
        gib, vcpus = state.gib[passing].sum(axis=1), state.vcpus[passing].sum(axis=1)
        span = vcpus.max() - vcpus.min()
        weight = gib / max(gib.max(), 1) + (vcpus - vcpus.min()) / max(span, 1)
        server = int(passing[(sign * weight).argmin()])
        cells = [cell for cell in (0, 1) if fits[server, cell]]
        return server, min(cells, key=lambda cell: (sign * state.vcpus[server, cell], sign * state.gib[server, cell]))

    return rule


class Product:
    """The scheduler as it is delivered: its filters, weighers and default multipliers, then the exact fit.

    Every server is a host with two cells of so many pCPUs and GiB, of which others hold what is not free.  What a group
    forbids is left out before, as for every other rule.
    """

    def __init__(self, state: State, *, pcpus: int, memory_gib: int, groups: Collection[str] = ()) -> None:
        self.settings, self.cloud, self.meanings = SchedulingSettings(), Cloud(), Meanings()
        self.filters = chosen_filters(self.settings, all_filters(()))
        self.weighers = chosen_weighers(self.settings, all_weighers(()))
        model = parse_synthetic(f"socket:2 core:{pcpus} memory:{memory_gib}GiB")
        self.names = [f"server-{number:04}" for number in range(len(state.vcpus))]
        for name, vcpus, gib in zip(self.names, state.vcpus.tolist(), state.gib.tolist(), strict=True):
            held = tuple(
                CellUsage(
                    cell.id,
                    pinned=CpuSet(sorted(cell.cpus)[free:]),
                    memory_kib=(memory_gib - free_gib) << 20,
                    pages=(PageUse(4, (memory_gib - free_gib) << 18),),
                )
                for cell, free, free_gib in zip(model.cells, vcpus, gib, strict=True)
            )
            record = HostRecord(
                name=name, model="m", topology=replace(model, hostname=name), facts=HostFacts(disk_gb=1 << 20),
                agent=False, last_seen_s=1.0, foreign=Usage(held), foreign_vcpus=2 * pcpus - sum(vcpus),
                foreign_ram_mb=(2 * memory_gib - sum(gib)) << 10,
            )  # fmt: skip
            self.cloud.put_host(record, ())
        self.cloud.set_groups(GroupRecord(name=name, policy="affinity") for name in sorted(groups))
        self.placed = 0

    def leave(self, number: int) -> None:
        """The guest that came as number so much, counted from 0, goes."""
        self.cloud.drop_instance(f"g{number}")

    def __call__(self, state: State, guest: Guest, fits: np.ndarray) -> Choice:
        specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": guest.cells}
        flavor = Flavor(guest.vcpus, guest.gib << 10, name=f"{guest.vcpus}x{guest.gib}", extra_specs=specs)
        apart = tuple(self.names[server] for server in np.flatnonzero(~fits.any(axis=1)).tolist())
        request = Request(flavor, name=f"g{self.placed}", ignore_hosts=apart)
        group = self.cloud.group(guest.group) if guest.group else None
        wanted = Wanted(request=request, meant=self.meanings.of(request), group=group)
        found = select(
            self.cloud.table, wanted, filters=self.filters, weighers=self.weighers, settings=self.settings,
            fit=self.cloud.fit,
        ).placement  # fmt: skip
        if found is None:
            raise SystemExit(f"packing: the scheduler refuses {guest}, which {int(fits.sum())} cells could take")
        self.cloud.put_instance(
            InstanceRecord(
                id=request.name, name=request.name, status=InstanceStatus.ACTIVE, host=found.host, request=request,
                placement=found, group=guest.group or None, created_s=0.0, updated_s=0.0,
            )
        )  # fmt: skip
        self.placed += 1
        server, cell = self.names.index(found.host), found.cells[0].host_cell
        if not fits[server, cell]:
            raise SystemExit(f"packing: the scheduler puts {guest} on {found.host}, cell {cell}, which cannot take it")
        return server, cell


RULES: dict[str, Rule] = {
    "first-fit": first_fit,
    "best-fit (cell)": best_fit_cell,
    "best-fit (server)": best_fit_server,
    "Nova spread": nova(-1),
    "Nova pack": nova(1),
}


def _least(fits: np.ndarray, *keys: np.ndarray) -> Choice:
    """The fitting (server, cell) with the least keys, compared from the left; then the lowest numbers."""
    candidates = np.flatnonzero(fits)
    for key in keys:
        values = key.ravel()[candidates]
        candidates = candidates[values == values.min()]
    return divmod(int(candidates[0]), 2)
