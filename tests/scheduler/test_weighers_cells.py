"""What the weighers of cells say, against the rule of agent.placement.packing in plain numbers, host after host."""

import random

import pytest
from msgspec.structs import replace

from agent.core.cpuset import CpuSet
from agent.core.facts import HostFacts
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import CellUsage, PageUse, Usage
from agent.core.wire import InstanceStatus
from agent.inspection.synthetic import parse_synthetic
from agent.placement.packing import pair_room
from agent.placement.room import Room
from agent.scheduler.cloud import Cloud
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import select
from agent.scheduler.store.records import GroupRecord, HostRecord, InstanceRecord
from agent.scheduler.wanted import Group, Wanted
from agent.settings.scheduling import SchedulingSettings

SETTINGS = SchedulingSettings()
FILTERS = chosen_filters(SETTINGS, all_filters(()))
WEIGHERS = chosen_weighers(SETTINGS, all_weighers(()))
GIB = 1 << 20
Guest = tuple[int, int, int]
"""vCPUs, GiB, guest cells."""


def used(model: HostTopology, pcpus: list[int], gib: list[int]) -> Usage:
    """What others hold where so many pCPUs and GiB are free on each cell."""
    cells = []
    for cell, free, free_gib in zip(model.cells, pcpus, gib, strict=True):
        held_kib = (cell.memory_kib or 0) - free_gib * GIB
        taken = CpuSet(sorted(cell.cpus)[free:])
        cells.append(CellUsage(cell.id, taken, memory_kib=held_kib, pages=(PageUse(4, held_kib // 4),)))
    return Usage(tuple(cells))


def cloud_of(model: HostTopology, free: list[tuple[list[int], list[int]]]) -> Cloud:
    cloud = Cloud()
    for number, (pcpus, gib) in enumerate(free):
        name = f"h{number:02}"
        record = HostRecord(name=name, model="m", topology=replace(model, hostname=name), agent=False, last_seen_s=1.0)
        record = replace(record, facts=HostFacts(disk_gb=1000), foreign=used(model, pcpus, gib))
        cloud.put_host(record, ())
    return cloud


def ask(guest: Guest, name: str = "g", group: Group | None = None) -> Wanted:
    vcpus, gib, cells = guest
    specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": cells}
    return Wanted(request=Request(Flavor(vcpus, gib * 1024, extra_specs=specs), name=name), group=group)


def instance_of(wanted: Wanted, found: Placement) -> InstanceRecord:
    return InstanceRecord(
        id=wanted.request.name,
        name=wanted.request.name,
        status=InstanceStatus.ACTIVE,
        host=found.host,
        group=wanted.group.name if wanted.group else None,
        request=wanted.request,
        placement=found,
        created_s=0.0,
        updated_s=0.0,
    )


def cost(room: Room, guest: Guest) -> tuple[int, int] | None:
    """Pair room destroyed and what is left on the fullest cell, on the best cells of one host; None: none will do."""
    vcpus, gib, count = guest
    free = [(cell.free_count, cell.memory_free_kib) for cell in room.cells]
    share = room.kib_per_pcpu
    ways = [(number,) for number in range(len(free))] if count == 1 else [(0, 1)]
    found = []
    for way in ways:
        after = [
            (p - vcpus // count, kib - gib * GIB // count) if number in way else (p, kib)
            for number, (p, kib) in enumerate(free)
        ]
        if min(min(cell) for cell in after) >= 0:
            before, left = ([(p, kib // share) for p, kib in cells] for cells in (free, after))
            lost = pair_room(before, room.grain) - pair_room(left, room.grain)
            found.append((lost, min(min(left[number]) for number in way)))
    return min(found, default=None)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_whole_scheduler_packs_by_the_rule(seed: int) -> None:
    """120 guests in turn: filters, default multipliers and engine together never leave a host that packs better."""
    rng = random.Random(seed)
    model = parse_synthetic("socket:2 core:48 memory:96GiB")
    cloud = cloud_of(
        model, [([rng.randint(0, 48) for _ in "ab"], [rng.randint(0, 96) for _ in "ab"]) for _ in range(16)]
    )
    placed = 0
    for number in range(120):
        guest = rng.choice([(2, 4, 1), (4, 8, 1), (4, 16, 1), (8, 16, 1), (16, 64, 1), (16, 32, 2), (32, 64, 2)])
        costs = {}
        for row in range(16):
            room = cloud.table.at(row).room
            assert room is not None
            costs[cloud.table.at(row).name] = cost(room, guest)
        wanted = ask(guest, f"g{number}")
        found = select(
            cloud.table, wanted, filters=FILTERS, weighers=WEIGHERS, settings=SETTINGS, fit=cloud.fit
        ).placement
        least = min((each for each in costs.values() if each is not None), default=None)
        assert (costs[found.host] if found else None) == least, (guest, costs)
        if found is not None:
            placed += 1
            cloud.put_instance(instance_of(wanted, found))
    assert placed > 30


@pytest.mark.parametrize(
    ("guest", "group", "winner", "why"),
    [
        ((8, 16, 1), None, "h00", "alone: the fullest cell that does"),
        ((8, 16, 1), Group(name="g", policy="affinity"), "h01", "the first of a group goes where six fit, not three"),
        ((16, 32, 2), None, "h00", "a guest of two cells alone"),
        ((16, 32, 2), Group(name="g", policy="affinity"), "h01", "the first of a group goes where two fit"),
        ((8, 16, 1), Group(name="g", policy="anti-affinity"), "h00", "nobody comes after it"),
        ((24, 48, 1), Group(name="g", policy="affinity"), "h01", "or two, not one"),
        ((23, 1, 1), Group(name="g", policy="affinity"), "h01", "whatever room is left on the fullest cell"),
    ],
)
def test_the_first_of_an_affinity_group_goes_where_the_others_will_fit(
    guest: Guest, group: Group | None, winner: str, why: str
) -> None:
    model = parse_synthetic("socket:2 core:32 memory:64GiB")
    cloud = cloud_of(
        model,
        [([24, 7], [48, 16]), ([24, 24], [48, 48])] if guest[2] == 1 else [([8, 8], [16, 16]), ([16, 16], [32, 32])],
    )
    found = select(
        cloud.table, ask(guest, group=group), filters=FILTERS, weighers=WEIGHERS, settings=SETTINGS, fit=cloud.fit
    ).placement
    assert found is not None
    assert found.host == winner, why


def test_guests_keep_out_of_the_way_of_an_affinity_group_while_they_can() -> None:
    """Two hosts of room for three guests each: the group's host takes others only when the other host is full."""
    model = parse_synthetic("socket:2 core:32 memory:64GiB")
    cloud = cloud_of(model, [([16, 16], [32, 32]), ([24, 0], [48, 0])])
    cloud.set_groups([GroupRecord("g", "affinity")])
    hosts = []
    for number, group in enumerate(("g", None, None, None, None, "g")):
        wanted = ask((8, 16, 1), f"g{number}", cloud.group(group) if group else None)
        found = select(
            cloud.table, wanted, filters=FILTERS, weighers=WEIGHERS, settings=SETTINGS, fit=cloud.fit
        ).placement
        assert found is not None
        cloud.put_instance(instance_of(wanted, found))
        hosts.append(found.host)
    assert hosts == ["h00", "h01", "h01", "h01", "h00", "h00"]
