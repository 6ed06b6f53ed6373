"""How many guests simple placement rules and ours reject, and how much room they leave for guests of two cells.

Replays request lists of a real cloud (CC0: mdl1104/Dataset-for-topology-aware-VM-placement) over 1,710 servers of two
cells each, with every rule in the same run.  Ours is the whole scheduler with its default settings.  A one-cell guest
takes one cell, a two-cell guest half of its vCPUs and memory from each cell of one server.  Members of an anti-affinity
group never share a server, nor do members of one fault-domain group with different domains.  An affinity group shares
one server: always ("hard", Nova's affinity filter), or while it has room ("soft").

Room is the number of further guests of a two-cell flavor that would fit after the list: for the list's three commonest
two-cell flavors, and averaged over all of them by how often they are asked for.

    python benchmarks/packing.py [--lists C1,C3] [--groups hard|soft] [--format table|json] [--data DIR]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
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
PCPUS = 136
GIB_PER_VCPU = 2
"""What the largest cells have free, and about the servers' memory a vCPU (1.85 GiB); flavors have 2 or 4."""


class Guest(NamedTuple):
    vcpus: int
    gib: int
    cells: int
    strategy: str
    group: str
    domain: str


class State:
    """Free vCPUs and GiB, one row a server and one column a cell."""

    def __init__(self, folder: Path) -> None:
        rows = _rows(folder / "servers.csv.gz")
        self.vcpus = np.array([[int(row["CPU1"]), int(row["CPU2"])] for row in rows])
        self.gib = np.array([[int(row["RAM1"]), int(row["RAM2"])] for row in rows])

    def fits(self, guest: Guest) -> np.ndarray:
        """Server × cell for a one-cell guest; for a two-cell guest, both columns say whether both cells fit."""
        fits = (self.vcpus >= guest.vcpus // guest.cells) & (self.gib >= guest.gib // guest.cells)
        return fits if guest.cells == 1 else np.repeat(fits.all(axis=1)[:, None], 2, axis=1)

    def take(self, guest: Guest, server: int, cell: int) -> None:
        cells = [cell] if guest.cells == 1 else [0, 1]
        self.vcpus[server, cells] -= guest.vcpus // guest.cells
        self.gib[server, cells] -= guest.gib // guest.cells

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

    Every server is a host with two cells of ``PCPUS`` pCPUs and as many times ``GIB_PER_VCPU``, of which others hold
    what the file does not call free.  What a group forbids is left out before, as for every other rule.
    """

    def __init__(self, state: State, groups: set[str]) -> None:
        self.settings, self.cloud, self.meanings = SchedulingSettings(), Cloud(), Meanings()
        self.filters = chosen_filters(self.settings, all_filters(()))
        self.weighers = chosen_weighers(self.settings, all_weighers(()))
        memory_gib = PCPUS * GIB_PER_VCPU
        model = parse_synthetic(f"socket:2 core:{PCPUS} memory:{memory_gib}GiB")
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
                agent=False, last_seen_s=1.0, foreign=Usage(held), foreign_vcpus=2 * PCPUS - sum(vcpus),
                foreign_ram_mb=(2 * memory_gib - sum(gib)) << 10,
            )  # fmt: skip
            self.cloud.put_host(record, ())
        self.cloud.set_groups(GroupRecord(name=name, policy="affinity") for name in groups)
        self.placed = 0

    def __call__(self, state: State, guest: Guest, fits: np.ndarray, group: str | None) -> Choice:
        specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": guest.cells}
        flavor = Flavor(guest.vcpus, guest.gib << 10, name=f"{guest.vcpus}x{guest.gib}", extra_specs=specs)
        apart = tuple(self.names[server] for server in np.flatnonzero(~fits.any(axis=1)).tolist())
        request = Request(flavor, name=f"g{self.placed}", ignore_hosts=apart)
        wanted = Wanted(
            request=request,
            meant=self.meanings.of(request),
            group=None if group is None else self.cloud.group(group),
        )
        found = select(
            self.cloud.table, wanted, filters=self.filters, weighers=self.weighers, settings=self.settings,
            fit=self.cloud.fit,
        ).placement  # fmt: skip
        if found is None:
            raise SystemExit(f"packing: the scheduler refuses {guest}, which {int(fits.sum())} cells could take")
        self.cloud.put_instance(
            InstanceRecord(
                id=request.name, name=request.name, status=InstanceStatus.ACTIVE, host=found.host, request=request,
                placement=found, group=group, created_s=0.0, updated_s=0.0,
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


def replay(folder: Path, guests: list[Guest], name: str, *, hard: bool) -> dict[str, float | int | str]:
    state = State(folder)
    product = Product(state, {guest.group for guest in guests}) if name == OURS else None
    homes: dict[tuple[str, str], dict[int, set[str]]] = {}
    rejected = [0, 0]
    start = time.thread_time()
    for guest in guests:
        fits = state.fits(guest)
        kin = homes.setdefault((guest.strategy, guest.group), {}) if guest.strategy else {}
        if guest.strategy == "anti-affinity":
            fits[list(kin)] = False
        elif guest.strategy == "fault_domain":
            fits[[server for server, domains in kin.items() if domains != {guest.domain}]] = False
        elif guest.strategy == "affinity" and kin:
            together = np.zeros_like(fits)
            together[list(kin)] = fits[list(kin)]
            fits = together if hard or together.any() else fits
        if not fits.any():
            rejected[guest.cells - 1] += 1
            continue
        if product is None:
            server, cell = RULES[name](state, guest, fits)
        else:
            server, cell = product(state, guest, fits, guest.group if hard and guest.strategy == "affinity" else None)
        state.take(guest, server, cell)
        if guest.strategy:
            kin.setdefault(server, set()).add(guest.domain)
    spent = time.thread_time() - start
    wide = Counter((guest.vcpus, guest.gib) for guest in guests if guest.cells == 2)
    common = {f"room {v}x{g}": state.room(v, g) for (v, g), _ in wide.most_common(3)}
    mean = sum(state.room(v, g) * count for (v, g), count in wide.items()) / max(sum(wide.values()), 1)
    return {
        "rule": name,
        "rejected": sum(rejected),
        "one-cell": rejected[0],
        "two-cell": rejected[1],
        **common,
        "room, mean": round(mean, 1),
        "us/request": round(spent / len(guests) * 1e6),
    }


def verdict(rows: list[dict[str, float | int | str]]) -> str:
    """Ours beside the best of the simple rules, each taken at its best figure."""
    simple, mine = rows[:-1], rows[-1]
    parts = []
    for key, best in (("rejected", min), *((key, max) for key in mine if key.startswith("room"))):
        bar = best(row[key] for row in simple)
        parts.append(f"{key} {mine[key]} against {bar}")
    return "ours against the best simple rule in each column: " + ", ".join(parts)


def _least(fits: np.ndarray, *keys: np.ndarray) -> Choice:
    """The fitting (server, cell) with the least keys, compared from the left; then the lowest numbers."""
    candidates = np.flatnonzero(fits)
    for key in keys:
        values = key.ravel()[candidates]
        candidates = candidates[values == values.min()]
    return divmod(int(candidates[0]), 2)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as lines:
        return list(csv.DictReader(lines))


def _guests(path: Path) -> list[Guest]:
    keys = ("strategy", "group", "domain")
    return [
        Guest(int(row["flavor_vcpus"]), int(row["flavor_ram"]), int(row["numa"]), *(row[key] for key in keys))
        for row in _rows(path)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "packing")
    parser.add_argument("--lists", help="which request lists, as C1,C3; default: all in the folder")
    parser.add_argument("--groups", choices=("hard", "soft"), action="append", help="default: both")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    args = parser.parse_args()
    lists = sorted(args.data.glob("requests_*.csv.gz"))
    if args.lists:
        lists = [args.data / f"requests_{name}.csv.gz" for name in args.lists.split(",")]
    absent = [path for path in (args.data / "servers.csv.gz", *lists) if not path.is_file()]
    if absent or not lists:
        print(f"packing: no data: {absent[0] if absent else args.data / 'requests_*.csv.gz'}", file=sys.stderr)
        return 2
    answers = []
    for path in lists:
        guests = _guests(path)
        for groups in args.groups or ("hard", "soft"):
            rows = [replay(args.data, guests, name, hard=groups == "hard") for name in (*RULES, OURS)]
            answers.append({"list": path.name, "groups": groups, "guests": len(guests), "rules": rows})
            if args.format == "table":
                print(f"\n{path.name}, {len(guests)} guests, affinity {groups}")
                print(_table(rows))
                print(verdict(rows))
    if args.format == "json":
        print(json.dumps(answers))
    return 0


def _table(rows: list[dict[str, float | int | str]]) -> str:
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if at else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


if __name__ == "__main__":
    sys.exit(main())
