"""What the operator of a host could do so that one guest fits: more huge pages, a guest moved, pCPUs freed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import msgspec

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.guest import GuestCell, GuestTopology
from agent.core.misfit import Code
from agent.core.placement import Misfit, Placement
from agent.core.policy import CpuPolicy, EmulatorPolicy, ThreadPolicy
from agent.core.topology import Cell, HostTopology, PagePool
from agent.core.units import format_kib
from agent.core.usage import Usage
from agent.placement.engine import fit
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.proposal import Change, Question, ask
from agent.placement.room import CellRoom, Room, measure_room
from agent.placement.rules import find_refusal, sizes_wished

PAGE_CODES = (Code.NOT_ENOUGH_PAGES, Code.NO_SUCH_PAGES)
MOST_GROUPS = 12
PCPU_CODES = (Code.NOT_ENOUGH_PCPUS, Code.NOT_ENOUGH_SIBLINGS, Code.NOT_ENOUGH_WHOLE_CORES, Code.NOT_ENOUGH_IN_L3)


class MorePages(NamedTuple):
    """So many pages of one size that a cell lacks."""

    cell: int
    size_kib: int
    pages: int


def more_pages(question: Question, misfit: Misfit) -> Iterator[Change]:
    """So many huge pages more on one cell, or on as many as the guest has, from their base pages; fewest KiB first."""
    guest = parse_guest(question.request)
    room = measure_room(layout_of(question.host), question.usage, question.limits)
    short = sorted(
        {(reason.host_cell, reason.guest_cell or 0) for reason in misfit.misfits if reason.code in PAGE_CODES}
    )
    wanted = {
        more for index, cell in short if index is not None for more in _missing(_room_of(room, index), guest, cell)
    }
    cheapest = sorted(wanted, key=lambda more: (more.pages * more.size_kib, more))
    one_a_cell: dict[int, MorePages] = {}
    for more in cheapest:
        one_a_cell.setdefault(more.cell, more)
    groups: list[tuple[MorePages, ...]] = [(more,) for more in cheapest]
    for count in range(2, len(guest.cells) + 1):
        groups += islice(combinations(one_a_cell.values(), count), MOST_GROUPS)
    for group in map(sorted, groups):
        host = question.host
        for more in group:
            host = _with_pages(host, more)
        text = " and ".join(
            f"{more.pages} more {format_kib(more.size_kib)} page{'s' * (more.pages > 1)} on cell {more.cell}"
            for more in group
        )
        change = "; ".join(f"cell {more.cell}: {more.size_kib} KiB pages +{more.pages}" for more in group)
        yield Change(change, f"with {text}", msgspec.structs.replace(question, host=host))


def _room_of(room: Room, number: int) -> CellRoom:
    return next(cell for cell in room.cells if cell.cell.id == number)


def _missing(cell: CellRoom, guest: GuestTopology, number: int) -> Iterator[MorePages]:
    """What each wished size of huge pages lacks on one host cell for one guest cell, where base pages can make it."""
    if not cell.pools:
        return
    base, (_, base_free) = next(iter(cell.pools.items()))
    for size in sizes_wished(cell, guest):
        count = -(-guest.cells[number].memory_kib // size) - cell.pools[size][1]
        if size != base and 0 < count * size <= base_free * base:
            yield MorePages(cell.cell.id, size, count)


def _with_pages(host: HostTopology, more: MorePages) -> HostTopology:
    def changed(cell: Cell) -> Cell:
        base = min(pool.size_kib for pool in cell.pages)
        added = {base: -more.pages * more.size_kib // base, more.size_kib: more.pages}
        pools = []
        for pool in cell.pages:
            pages = added.get(pool.size_kib, 0)
            pools.append(PagePool(pool.size_kib, pool.total + pages, None if pool.free is None else pool.free + pages))
        return msgspec.structs.replace(cell, pages=tuple(pools))

    return msgspec.structs.replace(
        host, cells=tuple(changed(cell) if cell.id == more.cell else cell for cell in host.cells)
    )


def move_guest(question: Question, misfit: Misfit) -> Iterator[Change]:
    """One known guest moved from one cell to another; those with the least memory to move first."""
    order = sorted(question.guests, key=lambda guest: (guest.memory_kib, guest.name))
    room = measure_room(layout_of(question.host), question.usage, question.limits)
    for guest in order:
        steps = _steps(room, guest)
        if not steps:
            continue
        try:
            without = release(question.usage, guest)
        except BadInput:
            continue  # the usage at hand does not hold this guest
        for moved, here, there in _moves(question, guest, steps, without):
            usage = claim(without, moved)
            guests = tuple(moved if other is guest else other for other in question.guests)
            text = f"guest {guest.name} moved from cell {here} to {there}"
            change = f"move {guest.name}: cell {here} to {there}"
            yield Change(change, f"with {text}", msgspec.structs.replace(question, usage=usage, guests=guests))


def _steps(room: Room, guest: Placement) -> list[tuple[int, int]]:
    """Which guest cell could go to which host cell that the guest is not on, as far as that cell alone can tell."""
    homes = {cell.host_cell for cell in guest.cells}
    targets = [cell for cell in room.cells if cell.cell.id not in homes]
    wanted = _as_asked(guest)
    shapes = wanted.cell_shapes
    return [
        (at, cell.cell.id)
        for at, shape in enumerate(shapes)
        for cell in targets
        if find_refusal(cell, wanted, shape, room.layout.online) is None
    ]


def _moves(
    question: Question, guest: Placement, steps: Sequence[tuple[int, int]], without: Usage
) -> Iterator[tuple[Placement, int, int]]:
    room = measure_room(layout_of(question.host), without, question.limits)
    wanted = _as_asked(guest)
    homes = [cell.host_cell for cell in guest.cells]
    for at, there in steps:
        target = (*homes[:at], there, *homes[at + 1 :])
        moved = fit(room, msgspec.structs.replace(wanted, host_cells=target))
        if isinstance(moved, Placement):
            yield moved, homes[at], there


def _as_asked(guest: Placement) -> GuestTopology:
    """What a placed guest needs of any host cell, as far as its placement tells."""
    kept = guest.reserved & guest.emulator
    cells = tuple(GuestCell(cell.vcpus, cell.owning(), cell.memory_kib) for cell in guest.cells)
    policies = {cell.policy for cell in guest.cells}
    return GuestTopology(
        name=guest.name,
        flavor=guest.flavor,
        vcpus=guest.vcpus,
        memory_kib=guest.memory_kib,
        cells=cells,
        cpu_policy=policies.pop() if len(policies) == 1 else CpuPolicy.MIXED,
        thread_policy=ThreadPolicy.ISOLATE if guest.reserved - kept else ThreadPolicy.PREFER,
        idle_siblings=True,
        emulator_policy=EmulatorPolicy.ISOLATE if kept else None,
        realtime=guest.realtime,
        page=guest.cells[0].page_kib if guest.cells else None,
    )


def free_pcpus(question: Question, misfit: Misfit) -> Iterator[Change]:
    """The fewest owned pCPUs that their guests would have to give up: of one cell, else of several."""
    cells = {reason.host_cell for reason in misfit.misfits if reason.code in PCPU_CODES}
    short = sorted(number for number in cells if number is not None)
    found = [freed for number in short if (freed := _fewest(question, [number]))]
    if not found and len(short) > 1:
        found = [freed for freed in [_fewest(question, short)] if freed]
    for freed in sorted(found, key=len):
        owners = sorted({guest.name for guest in question.guests if guest.owned() & freed})
        whose = f", which guest{'s' * (len(owners) > 1)} {', '.join(owners)} own{'s' * (len(owners) == 1)}"
        where = [cell.id for cell in question.host.cells if cell.cpus & freed]
        of = f"of cell{'s' * (len(where) > 1)} {', '.join(map(str, sorted(where)))}"
        text = f"pCPU{'s' * (len(freed) > 1)} {freed} {of} freed" + (whose if owners else "")
        asked = msgspec.structs.replace(question, usage=_without(question.usage, freed))
        yield Change(f"free pCPUs {freed}", f"with {text}", asked)


def _fewest(question: Question, numbers: Sequence[int]) -> CpuSet:
    """Owned pCPUs of these cells, freed core by core, least used cores first, until it fits; no more than needed."""
    cells = [cell for cell in question.host.cells if cell.id in numbers]
    owned = CpuSet(cpu for used in question.usage.cells if used.id in numbers for cpu in used.pinned)
    cores = sorted(
        (len(core.cpus & owned), core.cpus.first(), core.cpus & owned) for cell in cells for core in cell.cores
    )
    order = [cpu for _, _, mine in cores for cpu in mine] or list(owned)
    if not _fits_without(question, order):
        return CpuSet()
    count = bisect_left(range(1, len(order)), True, key=lambda count: _fits_without(question, order[:count])) + 1
    freed = order[:count]
    for cpu in order[: count - 1]:
        fewer = [other for other in freed if other != cpu]
        if _fits_without(question, fewer):
            freed = fewer
    return CpuSet(freed)


def _fits_without(question: Question, freed: list[int]) -> bool:
    usage = _without(question.usage, CpuSet(freed))
    return ask(msgspec.structs.replace(question, usage=usage)).fits


def _without(usage: Usage, freed: CpuSet) -> Usage:
    cells = tuple(msgspec.structs.replace(cell, pinned=cell.pinned - freed) for cell in usage.cells)
    return msgspec.structs.replace(usage, cells=cells)
