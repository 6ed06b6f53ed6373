"""How many guests simple placement rules and ours reject, and how much room they leave for guests of two cells.

Replays request lists of a real cloud (CC0: mdl1104/Dataset-for-topology-aware-VM-placement) over 1,710 servers of two
cells each, with every rule in the same run.  Ours is the whole scheduler with its default settings.  A one-cell guest
takes one cell, a two-cell guest half of its vCPUs and memory from each cell of one server.  Members of an anti-affinity
group never share a server, nor do members of one fault-domain group with different domains.  An affinity group shares
one server: always ("hard", Nova's affinity filter), or while it has room ("soft").

Room is the number of further guests of a two-cell flavor that would fit after the list: for the list's three commonest
two-cell flavors, and averaged over all of them by how often they are asked for.  A rule that rejects more has less
placed and so more room; "room, equal load" is the mean when the guests placed had as many vCPUs as with the rule that
placed the fewest.

tune.py chose our rule, on half of C1 and on random streams of guests; it tells what C3 and C4 were used for.

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
from pathlib import Path
from typing import NamedTuple

import numpy as np
from packing_rules import OURS, ROOT, RULES, Guest, Product, Rule, State

PCPUS = 136
GIB_PER_VCPU = 2
"""What the largest cells have free, and about the servers' memory a vCPU (1.85 GiB); flavors have 2 or 4."""

EVERY = 100
"""Room is measured after so many guests again and again, to know it at equal load."""

Row = dict[str, float | int | str]


class Load(NamedTuple):
    """So many vCPUs of guests placed, and the mean room then."""

    vcpus: int
    room: float


def replay(state: State, guests: list[Guest], name: str, rule: Rule, *, hard: bool) -> tuple[Row, list[Load]]:
    """One rule's row of the table, and its room as the load grew.  The rule hears of a group only if it is "hard"."""
    wide = Counter((guest.vcpus, guest.gib) for guest in guests if guest.cells == 2)
    loads: list[Load] = []
    placed = 0
    homes: dict[tuple[str, str], dict[int, set[str]]] = {}
    rejected = [0, 0]
    start = time.thread_time()
    for number, guest in enumerate(guests):
        if number % EVERY == 0:
            loads.append(Load(placed, _mean_room(state, wide)))
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
        server, cell = rule(state, guest if hard and guest.strategy == "affinity" else guest.alone(), fits)
        state.take(guest, server, cell)
        placed += guest.vcpus
        if guest.strategy:
            kin.setdefault(server, set()).add(guest.domain)
    spent = time.thread_time() - start
    loads.append(Load(placed, _mean_room(state, wide)))
    row: Row = {
        "rule": name,
        "rejected": sum(rejected),
        "one-cell": rejected[0],
        "two-cell": rejected[1],
        **{f"room {v}x{g}": state.room(v, g) for (v, g), _ in wide.most_common(3)},
        "room, mean": round(loads[-1].room, 1),
        "us/request": round(spent / len(guests) * 1e6),
    }
    return row, loads


def compare(folder: Path, guests: list[Guest], *, hard: bool) -> list[Row]:
    """Every rule's row, ours last; with the room that each had at the load of the rule that placed the fewest."""
    answers = [replay(servers_of(folder), guests, name, rule, hard=hard) for name, rule in RULES.items()]
    state, groups = servers_of(folder), {guest.group for guest in guests if guest.strategy == "affinity"}
    ours = Product(state, pcpus=PCPUS, memory_gib=PCPUS * GIB_PER_VCPU, groups=groups)
    answers.append(replay(state, guests, OURS, ours, hard=hard))
    least = min(loads[-1].vcpus for _, loads in answers)
    for row, loads in answers:
        vcpus, rooms = zip(*loads, strict=True)
        row["room, equal load"] = round(float(np.interp(least, vcpus, rooms)), 1)
    return [row for row, _ in answers]


def verdict(rows: list[Row]) -> str:
    """Ours beside the best of the simple rules, each taken at its best figure."""
    simple, mine = rows[:-1], rows[-1]
    parts = []
    for key, best in (("rejected", min), *((key, max) for key in mine if key.startswith("room"))):
        bar = best(row[key] for row in simple)
        parts.append(f"{key} {mine[key]} against {bar}")
    return "ours against the best simple rule in each column: " + ", ".join(parts)


def _mean_room(state: State, wide: Counter[tuple[int, int]]) -> float:
    return sum(state.room(v, g) * count for (v, g), count in wide.items()) / max(sum(wide.values()), 1)


def servers_of(folder: Path) -> State:
    rows = _rows(folder / "servers.csv.gz")
    return State(
        np.array([[int(row["CPU1"]), int(row["CPU2"])] for row in rows]),
        np.array([[int(row["RAM1"]), int(row["RAM2"])] for row in rows]),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as lines:
        return list(csv.DictReader(lines))


def guests_of(path: Path) -> list[Guest]:
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
        guests = guests_of(path)
        for groups in args.groups or ("hard", "soft"):
            rows = compare(args.data, guests, hard=groups == "hard")
            answers.append({"list": path.name, "groups": groups, "guests": len(guests), "rules": rows})
            if args.format == "table":
                print(f"\n{path.name}, {len(guests)} guests, affinity {groups}")
                print(_table(rows))
                print(verdict(rows))
    if args.format == "json":
        print(json.dumps(answers))
    return 0


def _table(rows: list[Row]) -> str:
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
