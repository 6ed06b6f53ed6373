"""Guests come and go on a host, and at every step OpenStack Nova is asked the same question about the same state.

Counts where we and Nova agree that a guest fits, and how many whole cores each breaks for guests of one cell.  Guests
of two cells go to hosts of two cells only, where Nova's fit is known to be right.  What Nova refuses on purpose and we
serve (``isolate`` on hosts with SMT and split sets) is counted apart.  Every placement of ours goes through the tests'
validator, and what all guests hold together must be nothing once they have gone.

Nova runs in a Python of its own (``python -m venv X && X/bin/pip install nova``) behind the JSON-lines oracle.

    python benchmarks/nova_sequences.py --nova X/bin/python [--oracle FILE] [--sequences 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agent.core.claims import claim, release  # noqa: E402
from agent.core.cpuset import CpuSet  # noqa: E402
from agent.core.placement import Placement  # noqa: E402
from agent.core.request import Flavor, Request  # noqa: E402
from agent.core.topology import Cell, HostTopology  # noqa: E402
from agent.core.usage import CellUsage, Limits, Usage  # noqa: E402
from agent.placement import place  # noqa: E402
from tests.hosts import host  # noqa: E402
from tests.placement.validator import broken_rules  # noqa: E402

HOSTS = ("osdev-01", "osdev-split", "no-smt", "smt4", "huge-pages", "tiny")
LIMITS = Limits(cpu_allocation_ratio=2.0, ram_allocation_ratio=1.0)
RATIOS = {"cpu_allocation_ratio": 2.0, "ram_allocation_ratio": 1.0}


class Nova:
    """The oracle, one question at a time."""

    def __init__(self, python: str, oracle: Path) -> None:
        self.process = subprocess.Popen(
            [python, str(oracle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=oracle.parent,
        )

    def ask(self, topology: HostTopology, usage: Usage, flavor: Flavor) -> dict[str, Any]:
        own = {"vcpus": flavor.vcpus, "memory_mb": flavor.ram_mb, "extra_specs": flavor.extra_specs}
        question = {"host": nova_host(topology, usage), "flavor": own, "limits": RATIOS}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def nova_host(topology: HostTopology, usage: Usage) -> dict[str, Any]:
    """A host and what guests hold there, in the oracle's words."""
    shared, dedicated = topology.shared(), topology.dedicated()
    cells = []
    for cell in topology.cells:
        held = used_of(usage, cell)
        pages = {page.size_kib: page.used for page in held.pages}
        siblings = [list(core.cpus & (shared | dedicated)) for core in cell.cores]
        cells.append(
            {
                "id": cell.id,
                "cpuset": list(cell.cpus & shared),
                "pcpuset": list(cell.cpus & dedicated),
                "memory_mb": (cell.memory_kib or 0) // 1024,
                "siblings": [group for group in siblings if group],
                "mempages": [
                    {"size_kb": pool.size_kib, "total": pool.total, "used": pages.get(pool.size_kib, 0)}
                    for pool in cell.pages
                ],
                "pinned_cpus": list(held.pinned),
                "cpu_usage": held.floating_vcpus,
                "memory_usage": held.memory_kib // 1024,
                "socket": cell.cores[0].socket,
            }
        )
    return {"cells": cells}


def used_of(usage: Usage, cell: Cell) -> CellUsage:
    return next((held for held in usage.cells if held.id == cell.id), CellUsage(cell.id))


def random_flavor(draw: random.Random) -> Flavor:
    vcpus, policy = draw.choice([1, 2, 3, 4, 6, 8, 12, 16]), draw.choice(["dedicated"] * 4 + ["shared", "mixed"])
    cells = draw.choice([1, 1, 1, 2]) if vcpus % 2 == 0 else 1
    if policy == "mixed" and vcpus <= cells:
        policy = "dedicated"
    specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": policy, "hw:numa_nodes": str(cells)}
    if policy == "mixed":
        specs["hw:cpu_dedicated_mask"] = "0" if cells == 1 else f"0,{vcpus // 2}"
    choices = {"hw:mem_page_size": [None] * 4 + ["large", "small", "any"]}
    if policy != "shared":
        choices["hw:cpu_thread_policy"] = [None, "prefer", "require", "isolate"]
        choices["hw:emulator_threads_policy"] = [None, None, "share", "isolate"]
    specs |= {key: chosen for key, words in choices.items() if (chosen := draw.choice(words)) is not None}
    return Flavor(vcpus, draw.choice([512, 1024, 2048, 4096]), extra_specs=specs)


def cores_broken(topology: HostTopology, usage: Usage, cell: Cell, owned: CpuSet) -> int:
    """Whole free cores of which a guest takes a part."""
    free = topology.dedicated() - used_of(usage, cell).pinned
    cores = [core.cpus & topology.dedicated() for core in cell.cores]
    return sum(bool(core) and core <= free and bool(core & owned) and not core <= owned for core in cores)


def replay(nova: Nova, draw: random.Random, counted: Counter[str], wrong: list[str]) -> None:
    name = draw.choice(HOSTS)
    topology, usage = host(name), Usage()
    guests: list[Placement] = []
    for step in range(draw.randint(5, 40)):
        if guests and draw.random() < 0.3:
            usage = release(usage, guests.pop(draw.randrange(len(guests))))
            continue
        flavor = random_flavor(draw)
        request = Request(flavor=flavor, name=f"g{step}")
        ours, theirs = place(topology, usage, request, LIMITS), nova.ask(topology, usage, flavor)
        isolates = flavor.extra_specs.get("hw:cpu_thread_policy") == "isolate"
        if ours.fits == theirs["fits"]:
            counted["both fit" if ours.fits else "both refuse"] += 1
        elif ours.fits and isolates and name == "osdev-split":
            counted["ours alone, isolate on SMT with split sets"] += 1
        else:
            counted["differ"] += 1
            wrong.append(f"{name} {flavor}: ours {ours.fits}, Nova {theirs['fits']} {theirs.get('error_msg', '')}")
        if not isinstance(ours, Placement):
            continue
        wrong += broken_rules(topology, usage, request, LIMITS, ours)
        if theirs["fits"] and len(ours.cells) == 1 and ours.owned() and not isolates:
            for who, number, owned in (
                ("ours", ours.cells[0].host_cell, ours.owned()),
                ("Nova", theirs["cells"][0]["id"], nova_owned(theirs["cells"][0])),
            ):
                counted[f"whole cores broken, {who}"] += cores_broken(topology, usage, topology.cells[number], owned)
        usage = claim(usage, ours)
        guests.append(ours)
    for guest in guests:
        usage = release(usage, guest)
    if usage != Usage():
        wrong.append(f"{name}: all guests have gone and {usage} is left")


def nova_owned(cell: dict[str, Any]) -> CpuSet:
    return CpuSet([*cell["cpu_pinning"].values(), *cell["cpuset_reserved"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nova", metavar="PYTHON", required=True, help="an interpreter that has Nova")
    parser.add_argument("--oracle", type=Path, default=ROOT.parent / "shared" / "nova" / "oracle.py")
    parser.add_argument("--sequences", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if not args.oracle.is_file() or not Path(args.nova).is_file():
        print(f"nova_sequences: no {args.oracle} or no {args.nova}", file=sys.stderr)
        return 2
    nova, draw = Nova(args.nova, args.oracle), random.Random(args.seed)
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for _ in range(args.sequences):
        replay(nova, draw, counted, wrong)
    for what, count in sorted(counted.items()):
        print(f"{count:7}  {what}")
    print("\n".join(wrong[:20]) or "no difference, no broken rule")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
