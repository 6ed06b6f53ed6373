"""Which pCPUs of one cell a guest cell gets.

Named steps, best first; each stops when the guest cell is satisfied:

1. Stay inside one L3 group: of those that break fewest cores, the one with the fewest free pCPUs.  Else span as few
   as possible.
2. Fill whole sibling sets: cores whose free threads all find a vCPU, those with most threads first.
3. Put what remains on cores that others have broken already.
4. Only then break a whole core, and the smallest that will do.

``isolate`` takes whole cores only, one thread of each, and keeps the siblings idle.
"""

from __future__ import annotations

import msgspec

from agent.core.guest import GuestTopology, Shape
from agent.placement.layout import CellLayout
from agent.placement.room import CellRoom
from agent.placement.rules import ISOLATE, REQUIRE, cores_refusal, shape_refusal, whole_cores

Take = tuple[int, list[int]]
"""So many threads of each of these cores; a core is the mask of its free pCPUs."""


class Plan(msgspec.Struct, frozen=True):
    """The cores a guest cell takes, in vCPU order, then what is kept beside the vCPUs; and what it costs.

    ``idle`` masks siblings that nobody may have.  ``spanned`` counts L3 groups, ``broken`` cores that were
    whole and are now partly used.
    """

    cell: CellLayout
    takes: list[Take]
    dedicated: int
    beside: list[int]
    idle: int
    spanned: int
    broken: int

    def pcpus(self) -> tuple[list[int], int, list[int]]:
        """The pCPU of each dedicated vCPU, in vCPU order, and their mask; those kept for emulator and I/O threads."""
        pcpus: list[int] = []
        mask = 0
        whole = self.cell.threads
        for threads, cores in self.takes:
            for core in cores:
                siblings = whole.get(core)
                if siblings is not None and len(siblings) == threads:
                    pcpus += siblings
                    mask |= core
                    continue
                for _ in range(threads):
                    low = core & -core
                    pcpus.append(low.bit_length() - 1)
                    mask |= low
                    core ^= low
        if len(pcpus) == self.dedicated:
            return pcpus, mask, self.beside
        extra = pcpus[self.dedicated :]
        return pcpus[: self.dedicated], mask ^ mask_of(extra), extra + self.beside

    def fills(self, threads: int) -> bool:
        """Whether every core holds whole blocks of so many vCPUs with consecutive numbers."""
        left = self.dedicated
        for count, cores in self.takes:
            if left > 0 and count % threads:
                return False
            left -= count * len(cores)
        return True


def plan_cores(room: CellRoom, guest: GuestTopology, shape: Shape, allowed: int) -> Plan:
    """The best pCPUs for a guest cell that fits here (``rules.find_refusal`` answered None)."""
    wanted = shape.dedicated
    if not wanted:
        return Plan(room.cell, [], 0, [], 0, 0, 0)
    free = room.free & allowed
    if guest.prefer_fast:
        free = _fast_part(room, guest, shape, free)
    if len(room.cell.group_masks) == 1:
        return _plan_region(room, guest, shape, region=free, free=free, spanned=1)
    plans = (
        _plan_region(room, guest, shape, region=region, free=free, spanned=spanned)
        for region, spanned in _nearest_groups(room, guest, shape, free)
    )
    return min(plans, key=lambda plan: plan.broken)  # the first of equals is the tightest


def _plan_region(room: CellRoom, guest: GuestTopology, shape: Shape, *, region: int, free: int, spanned: int) -> Plan:
    """Steps 2 to 4 inside ``region``, the free pCPUs of so many L3 groups."""
    wanted = shape.dedicated
    if guest.thread_policy is ISOLATE:
        cores = _isolated(room, shape, region, free)
        return Plan(room.cell, [(1, cores)], wanted, [], sum(core & (core - 1) for core in cores), spanned, 0)
    if guest.thread_policy is REQUIRE:
        takes, broken = _fill(room, wanted, region, paired=True)
        plan = Plan(room.cell, takes, wanted, [], 0, spanned, broken)
        if not shape.extra:
            return plan
        beside, also_broken = _beside(room, shape.extra, free, plan.pcpus()[1])
        return Plan(room.cell, takes, wanted, beside, 0, spanned, broken + also_broken)
    takes, broken = _fill(room, wanted + shape.extra, region)
    return Plan(room.cell, takes, wanted, [], 0, spanned, broken)


def _fast_part(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> int:
    """The free pCPUs of fast cores alone, if there are any and they suffice."""
    fast = free & room.cell.fast
    return fast if fast and cores_refusal(room, guest, shape, fast) is None else free


def _nearest_groups(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> list[tuple[int, int]]:
    """Step 1: each single L3 group that holds the guest cell, tightest first; else as few groups as will do together.

    As masks of free pCPUs, and how many groups each spans.
    """
    groups = room.cell.group_masks
    wanted = shape.dedicated + shape.extra
    sized = sorted(((free & group).bit_count(), number) for number, group in enumerate(groups))
    single = [
        (free & groups[number], 1)
        for count, number in sized
        if count >= wanted and shape_refusal(room, guest, shape, free & groups[number]) is None
    ]
    if single:
        return single
    region = spanned = 0
    while sized:
        missing = wanted - region.bit_count()
        _, number = next((entry for entry in sized if entry[0] >= missing), sized[-1])
        region |= free & groups[number]
        spanned += 1
        if shape_refusal(room, guest, shape, region) is None:
            return [(region, spanned)]
        sized = [entry for entry in sized if entry[1] != number]
    return [(free, spanned)]


def _fill(room: CellRoom, wanted: int, region: int, *, paired: bool = False) -> tuple[list[Take], int]:
    """Steps 2 to 4: cores for ``wanted`` threads and how many whole cores that breaks.

    ``paired`` (``require``): only cores with two free threads or more, and nobody alone where it can be helped.
    """
    least = 2 if paired else 1
    by_count = room.free_cores if region == room.free else room.cores_by_count(region)
    takes: list[Take] = []
    rest: list[list[int]] = [[] for _ in by_count]
    left, broken = wanted, 0
    for count in range(len(by_count) - 1, 0, -1):
        cores = by_count[count]
        fill = min(left // count, len(cores)) if count >= least else 0
        if fill:
            takes.append((count, cores[:fill]))
            left -= fill * count
        rest[count] = cores[fill:]
    if paired and left == 1 and takes and takes[-1][0] > 2:
        count, cores = takes.pop()
        takes += [(count, cores[:-1])] * (len(cores) > 1) + [(count - 1, cores[-1:])]
        broken += _is_whole(room, cores[-1])
        left = 2
    while left:
        count = next((n for n in range(max(left, least), len(rest)) if rest[n]), 0)
        if not count:
            count = max(n for n in range(len(rest)) if rest[n])
        take = min(left, count)
        core = rest[count].pop(0)
        broken += take < count and _is_whole(room, core)
        takes.append((take, [core]))
        left -= take
    return takes, broken


def _is_whole(room: CellRoom, core: int) -> bool:
    """Whether these are all the dedicated threads of a core."""
    return core in room.cell.cores


def _beside(room: CellRoom, wanted: int, free: int, owned: int) -> tuple[list[int], int]:
    """pCPUs beside the pins: an orphan's sibling first, then a core that others broke, then a whole one."""
    extra: list[int] = []
    broken = 0
    for _ in range(wanted):
        left = free & ~owned
        cores = [(not core & owned, (core & left).bit_count(), core & left) for core in room.cell.cores if core & left]
        fresh, count, core = min(cores, key=lambda entry: (entry[0], entry[1], entry[2] & -entry[2]))
        broken += fresh and count > 1 and _is_whole(room, core)
        low = core & -core
        extra.append(low.bit_length() - 1)
        owned |= low
    return extra, broken


def _isolated(room: CellRoom, shape: Shape, region: int, free: int) -> list[int]:
    """So many whole cores; what is kept beside the vCPUs gets whole ones too while there are any."""
    whole = whole_cores(room, region)
    cores = whole[: shape.dedicated]
    if shape.extra:
        rest = whole[shape.dedicated :] + whole_cores(room, free & ~region)
        rest += [core & free for core in room.cell.cores if core & free and core not in cores and core not in rest]
        cores += rest[: shape.extra]
    return cores


def mask_of(pcpus: list[int]) -> int:
    """The mask of different pCPUs."""
    return sum(map((1).__lshift__, pcpus))
