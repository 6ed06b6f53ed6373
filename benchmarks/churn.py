"""Guests of one and of two cells come and go on a few servers: how many are placed before the first is refused, and
how many are refused in the long run, with simple placement rules and with ours.

Three questions about each cluster and mixture of guests, each over some seeds:

- ``fill``: guests only come; how many are placed until one finds no room;
- ``first``: guests come and go; how many are placed until one finds no room;
- ``refused``: the same, and whoever finds no room goes away; the vCPUs refused, in percent of those asked for.

Ours is the whole scheduler with its default settings.  A two-cell guest takes half of its vCPUs and memory from each
cell of one server.  How long guests stay is exponential; one in five stays eight times as long as the others.

A recorded trace takes the place of the mixtures: --trace names a CSV with the columns vmid, cpu, memory, time and type
(0: comes, 1: goes), as the trace Huawei-East-1 of VMAgent has them (github.com/mail-ecnu/VMAgent); --two-cells-above
says how many GiB make a guest one of two cells, and each seed begins at another place of the trace.

    python benchmarks/churn.py [--seeds 6] [--mixtures small,wide] [--format table|json]
    python benchmarks/churn.py --trace FILE.csv --servers 5 --pcpus 40 --memory 90 --two-cells-above 16
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import sys
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from packing_rules import OURS, RULES, Guest, Product, Rule, State


class Cluster(NamedTuple):
    """So many servers of two cells, each with so many pCPUs and GiB."""

    servers: int
    pcpus: int
    memory_gib: int


class Mixture(NamedTuple):
    """A cluster, how many guests are on it at a time if all find room, and which: vCPUs, GiB, cells, how often."""

    cluster: Cluster
    guests: int
    flavors: tuple[tuple[int, int, int, float], ...]


SMALL = (
    (1, 1, 1, 30), (1, 2, 1, 20), (2, 4, 1, 18), (4, 8, 1, 12), (1, 4, 1, 3), (2, 8, 1, 5), (6, 12, 1, 0.5),
    (4, 16, 1, 3), (8, 16, 1, 4), (12, 24, 2, 0.3), (8, 32, 2, 1.5), (16, 32, 2, 1.5), (16, 64, 2, 0.8),
    (32, 64, 2, 0.4),
)  # fmt: skip
MIDDLE = (
    (2, 4, 1, 20),
    (4, 16, 1, 15),
    (8, 16, 1, 15),
    (8, 32, 2, 10),
    (16, 32, 2, 12),
    (16, 64, 2, 5),
    (24, 48, 2, 3),
)
WIDE = (
    (2, 4, 1, 10), (4, 8, 1, 15), (8, 16, 1, 15), (16, 32, 1, 10), (8, 32, 1, 8), (16, 64, 2, 8), (32, 64, 2, 15),
    (32, 128, 2, 4), (64, 128, 2, 3),
)  # fmt: skip
EVEN = tuple((v, v * gib, 1 + (v >= 16), 1.0) for v in (1, 2, 4, 8, 12, 16, 24, 32) for gib in (2, 4))
ODD = (
    (1, 3, 1, 1),
    (3, 5, 1, 1),
    (5, 7, 1, 1),
    (7, 20, 1, 1),
    (10, 18, 2, 1),
    (14, 30, 2, 1),
    (18, 40, 2, 1),
    (22, 60, 2, 1),
)

MIXTURES = {
    "small": Mixture(Cluster(5, 40, 90), 165, SMALL),
    "small on one server": Mixture(Cluster(1, 40, 90), 35, SMALL),
    "small on many servers": Mixture(Cluster(20, 40, 90), 650, SMALL),
    "middle": Mixture(Cluster(5, 40, 90), 48, MIDDLE),
    "middle on many servers": Mixture(Cluster(16, 64, 128), 230, MIDDLE),
    "wide": Mixture(Cluster(5, 64, 160), 35, WIDE),
    "even": Mixture(Cluster(5, 40, 90), 43, EVEN),
    "even on one server": Mixture(Cluster(1, 64, 160), 14, EVEN),
    "odd": Mixture(Cluster(5, 40, 90), 60, ODD),
}
"""Guests a cluster: about what would fill it to the brim if nothing were left over."""

MOST = 4000
"""Whoever has placed so many has no need to be asked further."""

Event = tuple[float, Guest, float]
"""When a guest comes, which, and when it goes."""


def events_of(mixture: Mixture, seed: int) -> Iterator[Event]:
    """Guests for ever, one a unit of time on average."""
    rng = random.Random(seed)
    flavors = [Guest(*flavor[:3]) for flavor in mixture.flavors]
    weights = [flavor[3] for flavor in mixture.flavors]
    usual = mixture.guests / (0.8 + 0.2 * 8)
    now = 0.0
    while True:
        now += rng.expovariate(1)
        stay = rng.expovariate(1) * usual * (8 if rng.random() < 0.2 else 1)
        yield now, rng.choices(flavors, weights)[0], now + stay


class Answer(NamedTuple):
    """How many came before the first refusal, and of the vCPUs asked for in all, how many were refused."""

    placed_before: int
    asked_vcpus: int
    refused_vcpus: int


def empty(cluster: Cluster) -> State:
    """The cluster without guests."""
    shape = (cluster.servers, 2)
    return State(np.full(shape, cluster.pcpus), np.full(shape, cluster.memory_gib))


def replay(state: State, rule: Rule, events: Iterator[Event], *, depart: bool, until: int | None) -> Answer:
    """One rule on one stream; ``until`` the first refusal where it is None, else so many guests."""
    product = rule if isinstance(rule, Product) else None
    stay: list[tuple[float, int, Guest, int, int]] = []
    placed = asked = refused = 0
    before: int | None = None
    for number, (now, guest, end) in enumerate(events):
        if number == (until or MOST):
            break
        while stay and stay[0][0] <= now:
            _, gone, left, server, cell = heappop(stay)
            state.take(left, server, cell, times=-1)
            if product is not None:
                product.leave(gone)
        asked += guest.vcpus
        fits = state.fits(guest)
        if not fits.any():
            refused += guest.vcpus
            before = placed if before is None else before
            if until is None:
                break
            continue
        server, cell = rule(state, guest, fits)
        state.take(guest, server, cell)
        if depart:
            heappush(stay, (end, placed, guest, server, cell))
        placed += 1
    return Answer(placed if before is None else before, asked, refused)


def trace_of(path: Path, wide_gib: float, seed: int, seeds: int) -> Iterator[Event]:
    """The guests of a recorded trace from its part number ``seed`` on."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as lines:
        rows = [{key.strip().lower(): value for key, value in row.items()} for row in csv.DictReader(lines)]
    goes = {row["vmid"]: float(row["time"]) for row in rows if int(row["type"])}
    for row in rows[len(rows) * seed // seeds :]:
        if not int(row["type"]):
            vcpus, gib, now = int(row["cpu"]), int(float(row["memory"])), float(row["time"])
            cells = 2 if gib > wide_gib and not (vcpus % 2 or gib % 2) else 1
            yield now, Guest(vcpus, max(1, gib), cells), goes.get(row["vmid"], float("inf"))


def compare(
    streams: list[Callable[[], Iterator[Event]]], cluster: Cluster, long_run: int
) -> dict[str, dict[str, float]]:
    """Every rule on the same streams: name → the answers to the three questions, averaged."""
    answers = {}
    for name in (*RULES, OURS):

        def run(events: Iterator[Event], *, depart: bool, until: int | None, name: str = name) -> Answer:
            state = empty(cluster)
            ours = Product(state, pcpus=cluster.pcpus, memory_gib=cluster.memory_gib) if name == OURS else None
            return replay(state, ours or RULES[name], events, depart=depart, until=until)

        fill = [run(events(), depart=False, until=None) for events in streams]
        first = [run(events(), depart=True, until=None) for events in streams]
        long = [run(events(), depart=True, until=long_run) for events in streams]
        answers[name] = {
            "fill": round(mean(one.placed_before for one in fill), 1),
            "first": round(mean(one.placed_before for one in first), 1),
            "refused": round(100 * sum(one.refused_vcpus for one in long) / sum(one.asked_vcpus for one in long), 2),
        }
    return answers


def table(label: str, answers: dict[str, dict[str, float]]) -> str:
    """Rules as rows, and under them how ours stands against the best simple rule of each question."""
    lines = [f"{label:<22} {'fill':>8} {'first':>8} {'refused %':>10}"]
    lines += [f"  {name:<20} {row['fill']:>8} {row['first']:>8} {row['refused']:>10}" for name, row in answers.items()]
    simple, mine = [row for name, row in answers.items() if name != OURS], answers[OURS]
    bars = {key: (min if key == "refused" else max)(row[key] for row in simple) for key in mine}
    best = ", ".join(f"{key} {mine[key]} against {bar}" for key, bar in bars.items())
    return "\n".join([*lines, f"  ours against the best simple rule in each column: {best}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--mixtures", help=f"some of: {', '.join(MIXTURES)}; default: all")
    parser.add_argument("--trace", type=Path, help="a recorded trace instead")
    parser.add_argument("--servers", type=int, default=5)
    parser.add_argument("--pcpus", type=int, default=40, help="of each cell")
    parser.add_argument("--memory", type=int, default=90, help="GiB of each cell")
    parser.add_argument("--two-cells-above", type=float, default=16, metavar="GIB")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    args = parser.parse_args()
    told = {}
    seeds = range(args.seeds)
    if args.trace:
        cluster = Cluster(args.servers, args.pcpus, args.memory)
        streams = [lambda seed=seed: trace_of(args.trace, args.two_cells_above, seed, args.seeds) for seed in seeds]
        label = f"{args.trace.name}, {args.servers} servers"
        told[label] = compare(streams, cluster, MOST)
        if args.format == "table":
            print(table(label, told[label]))
    else:
        for label in args.mixtures.split(",") if args.mixtures else MIXTURES:
            mixture = MIXTURES[label]
            streams = [lambda seed=seed, mixture=mixture: events_of(mixture, seed) for seed in seeds]
            told[label] = compare(streams, mixture.cluster, 6 * mixture.guests)
            if args.format == "table":
                print(table(label, told[label]), flush=True)
    if args.format == "json":
        print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
