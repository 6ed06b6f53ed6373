"""Which pCPUs of one cell a guest cell gets.

Named steps, best first; each stops when the guest cell is satisfied:

1. Stay inside one L3 group: the one with the fewest free pCPUs that still holds it.  Else span as few as possible.
2. Fill whole sibling sets: cores whose free threads all find a vCPU, those with most threads first.
3. Put what remains on cores that others have broken already.
4. Only then break a whole core, and the smallest that will do.

``isolate`` takes whole cores only, one thread of each, and keeps the siblings idle.
"""

from __future__ import annotations

import msgspec

from agent.core.guest import GuestTopology, Shape
from agent.core.policy import ThreadPolicy
from agent.placement.room import CellRoom
from agent.placement.rules import shape_refusal, whole_cores


class Plan(msgspec.Struct, frozen=True):
    """The pCPUs for the dedicated vCPUs in vCPU order, those kept beside them, idle siblings, and what it costs.

    ``spanned`` counts L3 groups, ``broken`` cores that were whole and are now partly used.
    """

    pins: list[int]
    extra: list[int]
    idle: int
    spanned: int
    broken: int


NOTHING = Plan([], [], 0, 0, 0)


def plan_cores(room: CellRoom, guest: GuestTopology, shape: Shape, allowed: int) -> Plan:
    """The best pCPUs for a guest cell that fits here (``rules.find_refusal`` answered None)."""
    if not shape.dedicated:
        return NOTHING
    free = _fast_part(room, guest, shape, room.free & allowed)
    region, spanned = _nearest_groups(room, guest, shape, free)
    if guest.thread_policy is ThreadPolicy.ISOLATE:
        pins, extra, idle = _isolated(room, shape, region, free)
        return Plan(pins, extra, idle, spanned, 0)
    if guest.thread_policy is ThreadPolicy.REQUIRE:
        taken, broken = _fill(room, shape.dedicated, region, paired=True)
        extra, also_broken = _beside(room, shape.extra, free, taken)
        return Plan(taken, extra, 0, spanned, broken + also_broken)
    taken, broken = _fill(room, shape.dedicated + shape.extra, region)
    return Plan(taken[: shape.dedicated], taken[shape.dedicated :], 0, spanned, broken)


def _fast_part(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> int:
    """The free pCPUs of fast cores alone, where the guest asks for them and they suffice."""
    fast = free & room.cell.fast
    if guest.prefer_fast and fast and shape_refusal(room, guest, shape, fast) is None:
        return fast
    return free


def _nearest_groups(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> tuple[int, int]:
    """Step 1: the free pCPUs of the fewest and tightest L3 groups that hold the guest cell, and how many groups."""
    groups = room.cell.group_masks
    if len(groups) == 1:
        return free, 1
    wanted = shape.dedicated + shape.extra
    sized = sorted(((free & group).bit_count(), number) for number, group in enumerate(groups))
    for count, number in sized:
        if count >= wanted and shape_refusal(room, guest, shape, free & groups[number]) is None:
            return free & groups[number], 1
    region = spanned = 0
    while sized:
        missing = wanted - region.bit_count()
        _, number = next((entry for entry in sized if entry[0] >= missing), sized[-1])
        region |= free & groups[number]
        spanned += 1
        if shape_refusal(room, guest, shape, region) is None:
            return region, spanned
        sized = [entry for entry in sized if entry[1] != number]
    return free, spanned


def _fill(room: CellRoom, wanted: int, region: int, *, paired: bool = False) -> tuple[list[int], int]:
    """Steps 2 to 4: pCPUs for ``wanted`` threads and how many whole cores that breaks.

    ``paired`` (``require``): only cores with two free threads or more, and nobody alone where it can be helped.
    """
    least = 2 if paired else 1
    by_count: list[list[int]] = [[] for _ in range(room.cell.threads_per_core + 1)]
    for core in room.cell.cores:
        core &= region
        if core:
            by_count[core.bit_count()].append(core)
    takes: list[tuple[int, int]] = []
    left = wanted
    for count in range(len(by_count) - 1, least - 1, -1):
        fill = min(left // count, len(by_count[count]))
        takes += [(core, count) for core in by_count[count][:fill]]
        del by_count[count][:fill]
        left -= fill * count
    if paired and left == 1 and takes and takes[-1][1] > 2:
        core, count = takes.pop()
        takes.append((core, count - 1))
        left = 2
    while left:
        count = next((n for n in range(max(left, least), len(by_count)) if by_count[n]), 0)
        if not count:
            count = max(n for n in range(len(by_count)) if by_count[n])
        take = min(left, count)
        takes.append((by_count[count].pop(0), take))
        left -= take
    pcpus: list[int] = []
    broken = 0
    for core, take in takes:
        broken += take < core.bit_count() and core in room.cell.cores
        while take:
            low = core & -core
            pcpus.append(low.bit_length() - 1)
            core ^= low
            take -= 1
    return pcpus, broken


def _beside(room: CellRoom, wanted: int, free: int, taken: list[int]) -> tuple[list[int], int]:
    """pCPUs beside the pins: an orphan's sibling first, then a core that others broke, then a whole one."""
    extra: list[int] = []
    broken = 0
    owned = sum(1 << cpu for cpu in taken)
    for _ in range(wanted):
        left = free & ~owned
        cores = [(not core & owned, (core & left).bit_count(), core & left) for core in room.cell.cores if core & left]
        fresh, count, core = min(cores, key=lambda entry: (entry[0], entry[1], entry[2] & -entry[2]))
        broken += fresh and count > 1 and core in room.cell.cores
        low = core & -core
        extra.append(low.bit_length() - 1)
        owned |= low
    return extra, broken


def _isolated(room: CellRoom, shape: Shape, region: int, free: int) -> tuple[list[int], list[int], int]:
    """One thread of each of so many whole cores; what is kept beside gets whole cores too while there are any."""
    whole = whole_cores(room, region)
    cores = whole[: shape.dedicated]
    if shape.extra:
        rest = whole[shape.dedicated :]
        rest += whole_cores(room, free & ~region)
        rest += [core & free for core in room.cell.cores if core & free and core not in whole and core not in rest]
        cores = cores + rest[: shape.extra]
    firsts = [(core & -core).bit_length() - 1 for core in cores]
    idle = sum(core & (core - 1) for core in cores)
    return firsts[: shape.dedicated], firsts[shape.dedicated :], idle
