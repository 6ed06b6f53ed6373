"""The scheduler over many hosts: a decision beside Nova 34's, claims, a start from the database, agents' reports.

    python benchmarks/schedule.py                          decisions, claims and a start, ours alone
    python benchmarks/schedule.py --nova auto|PYTHON       and Nova's own filters and weighers, in the same run
    python benchmarks/schedule.py --parts decide,claims,start,reports --hosts 100,1000,10000,100000
    python benchmarks/schedule.py --parts start --start-hosts 100000

Hosts have 2 cells of 36 pCPUs, each cell with 0 to 36 of them taken; the request is the pinned guest of 16 vCPUs; ten
filters and all weighers.  Decisions are medians of this thread's CPU time, Nova's over as many rounds as two seconds
hold.  Claims, starts and reports wait for a database or a socket: their times are wall clock, with the CPU beside.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from msgspec.structs import replace
from place import nova_python
from schedule_reports import report_load

from agent.core.cpuset import CpuSet
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.cloud import Cloud
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import select
from agent.scheduler.service import Scheduler
from agent.scheduler.store import hosts
from agent.scheduler.store.checkpoints import checkpoints
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.records import HostRecord
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

FILTERS = (
    "Compute",
    "AggregateInstanceExtraSpecs",
    "ComputeCapabilities",
    "ImageProperties",
    "SameHost",
    "DifferentHost",
    "ServerGroupAntiAffinity",
    "ServerGroupAffinity",
    "PciPassthrough",
    "NUMATopology",
)
MODEL = parse_synthetic("socket:2 core:18 thread:2 memory:191GiB")
FLAVOR = Flavor(name="pinned", vcpus=16, ram_mb=4096, disk_gb=1, extra_specs={"hw:cpu_policy": "dedicated"})
KIB_PER_PCPU = 4 << 20
NOW_S = 1000.0


def some_hosts(count: int, *, used: bool) -> Iterator[HostRecord]:
    """Hosts without an agent; ``used``: what others have on them, at random but the same in every run."""
    rng = random.Random(count)
    for number in range(count):
        name = f"host-{number:06}"
        taken = [list(cell.cpus)[: rng.randrange(37)] if used else [] for cell in MODEL.cells]
        cells = [
            CellUsage(cell.id, CpuSet(pcpus), memory_kib=len(pcpus) * KIB_PER_PCPU)
            for cell, pcpus in zip(MODEL.cells, taken, strict=True)
        ]
        pcpus = sum(map(len, taken))
        yield HostRecord(
            name=name,
            model="model",
            topology=replace(MODEL, hostname=name),
            facts=HostFacts(disk_gb=1000, hypervisor_version=8_000_000),
            foreign=Usage(tuple(cells)),
            foreign_vcpus=pcpus,
            foreign_ram_mb=pcpus * KIB_PER_PCPU // 1024,
            agent=False,
            last_seen_s=NOW_S,
        )


def memory_mib() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def decide(counts: list[int], nova: str | None) -> None:
    """A decision in memory, and the memory a host takes."""
    settings = SchedulingSettings(filters=FILTERS)
    filters, weighers = chosen_filters(settings, all_filters(())), chosen_weighers(settings, all_weighers(()))
    print("\ndecisions in memory, ms of CPU (medians)")
    print(f"{'hosts':>8} {'ours':>9} {'us/host':>8} {'KiB/host':>9} {'passed':>7} {'Nova 34':>10} {'Nova / ours':>11}")
    for count in counts:
        before, cloud = memory_mib(), Cloud()
        for record in some_hosts(count, used=True):
            cloud.put_host(record, ())
        kib = (memory_mib() - before) * 1024 / count
        cloud.table.now_s = NOW_S
        spent = []
        for _ in range(31):
            started = time.thread_time()
            wanted = Wanted(request=Request(name="guest", flavor=FLAVOR))
            decision = select(cloud.table, wanted, filters=filters, weighers=weighers, settings=settings, fit=cloud.fit)
            spent.append((time.thread_time() - started) * 1e3)
        ours, passed = median(spent), count - sum(step.removed for step in decision.trace.removed)
        line = f"{count:>8} {ours:>9.2f} {ours * 1e3 / count:>8.2f} {kib:>9.1f} {passed:>7}"
        if nova is not None and count <= 10_000:
            answer = ask_nova(nova, count)
            assert answer["passed"] == passed, (answer, passed)
            line += f" {answer['seconds'] * 1e3:>10.0f} {answer['seconds'] * 1e3 / ours:>11.0f}"
        print(line, flush=True)


def ask_nova(python: str, count: int) -> dict[str, float]:
    """Nova's decision on the same hosts."""
    question = {
        "filters": FILTERS,
        "siblings": {cell.id: [list(core.cpus) for core in cell.cores] for cell in MODEL.cells},
        "request": {
            "vcpus": FLAVOR.vcpus,
            "memory_mb": FLAVOR.ram_mb,
            "disk_gb": FLAVOR.disk_gb,
            "extra_specs": FLAVOR.extra_specs,
        },
        "hosts": [
            {
                "name": record.name,
                "memory_mb": sum(cell.memory_kib or 0 for cell in MODEL.cells) // 1024,
                "memory_mb_used": record.foreign_ram_mb,
                "cells": [
                    {
                        "id": cell.id,
                        "cpus": list(cell.cpus),
                        "memory_mb": (cell.memory_kib or 0) // 1024,
                        "pinned": [cpu for used in record.foreign.cells if used.id == cell.id for cpu in used.pinned],
                    }
                    for cell in MODEL.cells
                ],
            }
            for record in some_hosts(count, used=True)
        ],
    }
    script = Path(__file__).with_name("nova_schedule.py")
    done = subprocess.run([python, str(script)], input=json.dumps(question), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python} {script}: {done.stderr.strip().splitlines()[-1]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def open_scheduler(url: str) -> Scheduler:
    numbers = itertools.count()
    return Scheduler(
        open_database(url), SchedulingSettings(), clock=time.time, new_id=lambda: f"instance-{next(numbers)}"
    )


def fill(url: str, count: int) -> None:
    """A database with this many empty hosts."""
    engine = open_database(url)
    with transaction(engine) as connection:
        for record in some_hosts(count, used=False):
            hosts.save_host(connection, replace(record, model=""))
    engine.dispose()


def claims(databases: dict[str, str], host_count: int, claim_count: int) -> None:
    """Decisions with their claims, one client, default filters."""
    print(f"\nclaimed decisions over {host_count} hosts, {claim_count} in a row")
    print(f"{'database':>10} {'a second':>9} {'a CPU s':>9} {'p50 ms':>8} {'p99 ms':>8}")
    for name, url in databases.items():
        fill(url, host_count)
        scheduler, spent = open_scheduler(url), []
        cpu, began = time.process_time(), time.perf_counter()
        with checkpoints(scheduler.engine):
            for number in range(claim_count):
                started = time.perf_counter()
                made = scheduler.create(Request(name=f"guest-{number}", flavor=FLAVOR), project="bench")
                spent.append((time.perf_counter() - started) * 1e3)
                assert made.host is not None
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        spent.sort()
        print(
            f"{name:>10} {claim_count / wall:>9.0f} {claim_count / cpu:>9.0f} {median(spent):>8.2f}"
            f" {spent[len(spent) * 99 // 100]:>8.2f}",
            flush=True,
        )
        scheduler.engine.dispose()


def start(folder: Path, counts: list[int]) -> None:
    """From a database to the first decision."""
    print("\nstart from SQLite, s")
    print(f"{'hosts':>8} {'wall':>7} {'CPU':>7} {'us/host':>8}")
    for count in counts:
        url = f"sqlite:///{folder}/start-{count}.db"
        fill(url, count)
        cpu, began = time.thread_time(), time.perf_counter()
        scheduler = open_scheduler(url)
        assert scheduler.decide(Request(name="guest", flavor=FLAVOR)).placement is not None
        wall, cpu = time.perf_counter() - began, time.thread_time() - cpu
        print(f"{count:>8} {wall:>7.2f} {cpu:>7.2f} {cpu * 1e6 / count:>8.1f}", flush=True)
        scheduler.engine.dispose()


@contextmanager
def postgresql(folder: Path) -> Iterator[str | None]:
    """A cluster of its own that is thrown away; None, with a message, where Debian's PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        print("no PostgreSQL here (apt install postgresql): claims go into SQLite alone", file=sys.stderr)
        yield None
        return
    programs, data = found[-1].parent, folder / "cluster"
    data.mkdir()
    folder.chmod(0o755)
    as_user = ["runuser", "-u", "postgres", "--"] if Path("/proc/self").owner() == "root" else []
    if as_user:
        subprocess.run(["chown", "postgres", str(data)], check=True)
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*as_user, programs / "initdb", "-D", data, "-U", "bench", "-A", "trust"], **quiet, cwd="/")
    options = f"-k {data} -c listen_addresses="
    subprocess.run(
        [*as_user, programs / "pg_ctl", "-D", data, "-o", options, "-l", data / "log", "-w", "start"], **quiet, cwd="/"
    )
    try:
        yield f"postgresql+psycopg://bench@/postgres?host={data}"
    finally:
        subprocess.run([*as_user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet, cwd="/")


def numbers_of(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nova", metavar="PYTHON", help="an interpreter with Nova, or auto")
    parser.add_argument("--parts", default="decide,claims,start", help="of decide, claims, start, reports")
    parser.add_argument("--hosts", type=numbers_of, default="100,1000,10000", help="for decide (100000 takes a while)")
    parser.add_argument("--claims", type=int, default=2000, help="how many, over half as many hosts")
    parser.add_argument("--start-hosts", type=numbers_of, default="1000,10000", help="for start")
    parser.add_argument("--agents", type=int, default=10_000, help="for reports: agents that report every 10 s")
    parser.add_argument("--seconds", type=float, default=30.0, help="for reports: how long")
    args = parser.parse_args()
    chosen = args.parts.split(",")
    with tempfile.TemporaryDirectory(prefix="cellwright-bench-") as made:
        folder = Path(made)
        if "decide" in chosen:
            decide(args.hosts, nova_python(args.nova) if args.nova else None)
        if "claims" in chosen:
            with postgresql(folder) as shared:
                databases = {"SQLite": f"sqlite:///{folder}/claims.db"}
                claims(databases | ({"PostgreSQL": shared} if shared else {}), args.claims // 2, args.claims)
        if "start" in chosen:
            start(folder, args.start_hosts)
        if "reports" in chosen:
            url = f"sqlite:///{folder}/reports.db"
            report_load(url, folder, list(some_hosts(args.agents, used=True)), seconds=args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
