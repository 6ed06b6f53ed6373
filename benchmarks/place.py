"""One host, one guest: our fit and whole place() against Nova 34's numa_fit_instance_to_host, in one run.

    python benchmarks/place.py                    ours alone
    python benchmarks/place.py --nova auto        installs Nova into .cache/nova (some minutes, once)
    python benchmarks/place.py --nova PYTHON      an interpreter that has Nova

``fit`` has host, usage and request compiled, as Nova's fit has its objects built; ``place`` starts from the documents.
Microseconds of this thread's CPU time, medians.  Cases that Nova does not finish in ``--limit`` seconds are cut off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import thread_time

from agent.core.cpuset import CpuSet
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import CellUsage, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.engine import fit
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.room import measure_room

ROOT = Path(__file__).parents[1]
NOVA = "nova==34.0.0"
PINNED = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1"}
Case = tuple[str, HostTopology, Usage, Request]


def guest(vcpus: int, ram_mb: int, **specs: str) -> Request:
    return Request(Flavor(vcpus, ram_mb, extra_specs={f"hw:{key}": value for key, value in specs.items()}))


def pinned(host: HostTopology, taken: Callable[[int, int], bool]) -> Usage:
    """A usage that owns pCPU number ``place`` of each cell where ``taken(cell, place)`` says so."""
    return Usage(
        tuple(
            CellUsage(cell.id, CpuSet(cpu for place, cpu in enumerate(cell.cpus) if taken(cell.id, place)))
            for cell in host.cells
        )
    )


def usual_cases() -> list[Case]:
    """The table of everyday questions, on 2 cells with 72 pCPUs and 8 cells with 256."""
    cases: list[Case] = []
    for text, label in (("socket:2 core:18 thread:2", "2c/72"), ("socket:2 cell:4 core:16 thread:2", "8c/256")):
        host = parse_synthetic(f"{text} memory:64GiB pages:2M=4096")
        size = len(host.cells[0].cpus)
        half = pinned(host, lambda cell, place, size=size: place % (size // 2) < size // 4)
        most = pinned(host, lambda cell, place, size=size: place < size * 85 // 100)
        lone = pinned(host, lambda cell, place, size=size: place >= size // 2)
        one = guest(16, 4096, cpu_policy="dedicated", cpu_thread_policy="prefer")
        two = guest(16, 4096, cpu_policy="dedicated", numa_nodes="2")
        cases += [
            (f"{label} empty, pinned prefer, fits", host, Usage(), one),
            (f"{label} half full, pinned prefer, fits", host, half, one),
            (f"{label} 85 % full, pinned, fails on count", host, most, one),
            (
                f"{label} one thread of every core, require, fails",
                host,
                lone,
                guest(16, 4096, cpu_policy="dedicated", cpu_thread_policy="require"),
            ),
            (f"{label} the same, prefer, fits", host, lone, one),
            (f"{label} 2 MiB pages, shared, fits", host, Usage(), guest(16, 4096, mem_page_size="2048")),
            (f"{label} 2 guest cells, fits", host, Usage(), two),
            (
                f"{label} 2 guest cells, 85 % full, fails",
                host,
                most,
                guest(32, 4096, cpu_policy="dedicated", numa_nodes="2"),
            ),
        ]
    return cases


def hard_cases() -> list[Case]:
    """Many cells, many guest cells: where Nova walks permutations."""
    cases = []
    for cells, guests, good in (
        (8, 8, 7),
        (12, 6, 5),
        (16, 6, 0),
        (16, 6, 5),
        (16, 8, 16),
        (16, 8, 8),
        (16, 8, 0),
        (16, 8, 7),
    ):
        host = parse_synthetic(f"cell:{cells} core:4 thread:2 memory:16GiB")
        usage = pinned(host, lambda cell, place, good=good: cell >= good)
        wanted = guest(guests * 4, guests * 512, cpu_policy="dedicated", numa_nodes=str(guests))
        cases.append((f"{cells} cells, {guests} guest cells, {good} good", host, usage, wanted))
    return cases


def microseconds(call: Callable[[], object], seconds: float = 0.25) -> float:
    """The median over rounds of one call's CPU time."""
    rounds, spent = [], 0.0
    while spent < seconds or len(rounds) < 5:
        started = thread_time()
        for _ in range(20):
            call()
        rounds.append((thread_time() - started) / 20)
        spent += rounds[-1] * 20
    return median(rounds) * 1e6


def nova_python(choice: str) -> str:
    if choice != "auto":
        return choice
    folder = ROOT / ".cache" / "nova"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"installing {NOVA} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", NOVA], check=True)
        (folder / "installed").touch()
    return str(python)


def nova_question(host: HostTopology, usage: Usage, request: Request) -> str:
    used = {cell.id: cell for cell in usage.cells}
    cells = [
        {
            "id": cell.id,
            "cpus": list(cell.cpus),
            "memory_mb": (cell.memory_kib or 0) // 1024,
            "siblings": [list(core.cpus) for core in cell.cores],
            "pages": [[pool.size_kib, pool.total] for pool in cell.pages],
            "pinned": list(used[cell.id].pinned) if cell.id in used else [],
        }
        for cell in host.cells
    ]
    return json.dumps({"cells": cells, "vcpus": request.flavor.vcpus, "memory_mb": request.flavor.ram_mb,
                       "extra_specs": request.flavor.extra_specs})  # fmt: skip


def nova_microseconds(python: str, case: Case, limit: float) -> float | None:
    """Nova's own fit of the same question; None when it takes longer than ``limit`` seconds."""
    script = Path(__file__).with_name("nova_fit.py")
    try:
        done = subprocess.run(
            [python, str(script)], input=nova_question(*case[1:]), capture_output=True, text=True, timeout=limit + 10
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(f"{python} {script}: {done.stderr.strip().splitlines()[-1]}")
    answer = json.loads(done.stdout)
    ours = place(*case[1:]).fits
    assert answer["fits"] == ours, f"{case[0]}: Nova says {answer['fits']}, we say {ours}"
    return float(answer["microseconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nova", metavar="PYTHON", help="an interpreter with Nova, or auto")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for one case of Nova's (default 10)")
    args = parser.parse_args()
    python = nova_python(args.nova) if args.nova else None
    print(f"{'case':<52} {'fit µs':>9} {'place µs':>9} {'Nova µs':>12} {'Nova / fit':>10}")
    for case in usual_cases() + hard_cases():
        label, host, usage, request = case
        room, compiled = measure_room(layout_of(host), usage), parse_guest(request)
        fits = microseconds(lambda room=room, compiled=compiled: fit(room, compiled))
        whole = microseconds(lambda case=case: place(*case[1:]))
        line = f"{label:<52} {fits:>9.1f} {whole:>9.1f}"
        if python is not None:
            nova = nova_microseconds(python, case, args.limit)
            over = f"> {args.limit * 1e6:.0f}"
            line += f" {over if nova is None else format(nova, '.1f'):>12}"
            line += f" {('> ' if nova is None else '') + format((nova or args.limit * 1e6) / fits, '.0f'):>10}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
