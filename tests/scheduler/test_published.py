"""Request lists of a real cloud on its own servers, through the whole scheduler with its database."""

import csv
import gzip
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, PageUse, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store.database import open_database
from agent.scheduler.store.records import GroupRecord, HostRecord, InstanceRecord
from agent.settings.scheduling import SchedulingSettings

MODEL = parse_synthetic("socket:2 core:64 thread:2 memory:1024GiB")
PCPUS = 128
GIB = 1 << 20
SERVERS = 120
REQUESTS = 250
Rows = list[dict[str, str]]


def read_rows(path: Path) -> Rows:
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def server(number: int, row: dict[str, str]) -> HostRecord:
    """A server with what the list calls free; the rest of a large machine is others'."""
    free = [(int(row[f"CPU{cell}"]), int(row[f"RAM{cell}"])) for cell in (1, 2)]
    taken_kib = [(cell.memory_kib or 0) - gib * GIB for cell, (_, gib) in zip(MODEL.cells, free, strict=True)]
    cells = tuple(
        CellUsage(cell.id, CpuSet(list(cell.cpus)[pcpus:]), memory_kib=kib, pages=(PageUse(4, kib // 4),))
        for cell, (pcpus, _), kib in zip(MODEL.cells, free, taken_kib, strict=True)
    )
    return HostRecord(
        name=f"server-{number:03}",
        topology=MODEL,
        facts=HostFacts(disk_gb=1000),
        foreign=Usage(cells),
        foreign_vcpus=sum(PCPUS - pcpus for pcpus, _ in free),
        foreign_ram_mb=sum(cell.memory_kib for cell in cells) >> 10,
        agent=False,
    )


def request_of(number: int, row: dict[str, str], groups: set[str]) -> Request:
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": row["numa"]}
    flavor = Flavor(
        name=f"{row['flavor_vcpus']}x{row['flavor_ram']}",
        vcpus=int(row["flavor_vcpus"]),
        ram_mb=int(row["flavor_ram"]) << 10,
        extra_specs=specs,
    )
    name = f"{row['strategy']}-{row['group']}"
    return Request(name=f"guest-{number}", flavor=flavor, group=name if name in groups else None)


def check(scheduler: Scheduler, servers: dict[str, HostRecord], placed: list[InstanceRecord]) -> None:
    """Nothing is given twice or taken from others, memory suffices, cells and groups are as asked."""
    owned = {name: {cpu for cell in host.foreign.cells for cpu in cell.pinned} for name, host in servers.items()}
    held_kib = {(name, cell.id): cell.memory_kib for name, host in servers.items() for cell in host.foreign.cells}
    members = defaultdict(list)
    for instance in placed:
        assert instance.placement is not None
        assert instance.host is not None
        mine = set(instance.placement.owned())
        assert len(mine) == instance.request.flavor.vcpus
        assert not mine & owned[instance.host]
        owned[instance.host] |= mine
        cells = instance.placement.cells
        assert len({cell.host_cell for cell in cells}) == int(instance.request.flavor.extra_specs["hw:numa_nodes"])
        for cell in cells:
            held_kib[instance.host, cell.host_cell] += cell.memory_kib
        if instance.group is not None:
            members[instance.group].append(instance.host)
    assert max(held_kib.values()) <= (MODEL.cells[0].memory_kib or 0)
    for group, hosts in members.items():
        assert len(set(hosts)) == (1 if group.startswith("affinity") else len(hosts)), group
    for name, pcpus in owned.items():
        assert {cpu for cell in scheduler.cloud.usage(name).cells for cpu in cell.pinned} == pcpus


@pytest.mark.parametrize("published", ["C1", "C3", "C4"])
def test_a_published_list(shared_data: Path, published: str) -> None:
    rows = read_rows(shared_data / "packing" / f"requests_{published}.csv.gz")
    rows = rows[:: len(rows) // REQUESTS][:REQUESTS]
    every = read_rows(shared_data / "packing" / "servers.csv.gz")
    records = [server(number, row) for number, row in enumerate(every[:: len(every) // SERVERS][:SERVERS])]
    servers = {record.name: record for record in records}
    ids = itertools.count()
    scheduler = Scheduler(
        open_database("sqlite://"), SchedulingSettings(), clock=lambda: 1000.0, new_id=lambda: f"i{next(ids):04}"
    )
    for record in records:
        scheduler.put_host(record)
    groups = {f"{r['strategy']}-{r['group']}": r["strategy"] for r in rows if r["strategy"].endswith("affinity")}
    for name, policy in groups.items():
        scheduler.change_catalogue(lambda c, n=name, p=policy: catalogue.create_group(c, GroupRecord(n, p)))
    made = [scheduler.create(request_of(number, row, set(groups))) for number, row in enumerate(rows)]
    placed = [instance for instance in made if instance.host is not None]
    assert len(placed) > REQUESTS * 0.9
    assert all(instance.reason for instance in made if instance.host is None)
    check(scheduler, servers, placed)
    scheduler.load()
    check(scheduler, servers, placed)
    for instance in made:
        scheduler.delete(instance.id)
    assert {name: scheduler.cloud.usage(name) for name in servers} == {n: r.foreign for n, r in servers.items()}
    scheduler.engine.dispose()
