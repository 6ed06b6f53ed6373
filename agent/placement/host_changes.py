"""What the operator of a host could do so that one guest fits: more huge pages, a guest moved, pCPUs freed."""

from __future__ import annotations

from collections.abc import Iterator

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
from agent.placement.room import measure_room
from agent.placement.rules import sizes_wished

PAGE_CODES = (Code.NOT_ENOUGH_PAGES, Code.NO_SUCH_PAGES)
PCPU_CODES = (Code.NOT_ENOUGH_PCPUS, Code.NOT_ENOUGH_SIBLINGS, Code.NOT_ENOUGH_WHOLE_CORES, Code.NOT_ENOUGH_IN_L3)


def more_pages(question: Question, misfit: Misfit) -> Iterator[Change]:
    """So many huge pages more on one cell, taken from its base pages; the fewest KiB first."""
    guest = parse_guest(question.request)
    room = measure_room(layout_of(question.host), question.usage, question.limits)
    short = {reason.host_cell: reason.guest_cell for reason in misfit.misfits if reason.code in PAGE_CODES}
    wanted = []
    for cell in room.cells:
        if cell.cell.id not in short or not cell.pools:
            continue
        memory_kib = guest.cells[short[cell.cell.id] or 0].memory_kib
        base, (_, base_free) = next(iter(cell.pools.items()))
        for size in sizes_wished(cell, guest):
            missing = -(-memory_kib // size) - cell.pools[size][1]
            if size != base and 0 < missing * size <= base_free * base:
                wanted.append((missing * size, cell.cell.id, size, missing))
    for _, number, size, missing in sorted(wanted):
        host = _with_pages(question.host, number, size, missing)
        text = f"{missing} more {format_kib(size)} page{'s' * (missing > 1)} on cell {number}"
        change = f"cell {number}: {size} KiB pages +{missing}"
        yield Change(change, f"with {text}", msgspec.structs.replace(question, host=host))


def _with_pages(host: HostTopology, number: int, size_kib: int, count: int) -> HostTopology:
    def changed(cell: Cell) -> Cell:
        base = min(pool.size_kib for pool in cell.pages)
        pools = []
        for pool in cell.pages:
            more = count if pool.size_kib == size_kib else -count * size_kib // base if pool.size_kib == base else 0
            pools.append(PagePool(pool.size_kib, pool.total + more, None if pool.free is None else pool.free + more))
        return msgspec.structs.replace(cell, pages=tuple(pools))

    return msgspec.structs.replace(
        host, cells=tuple(changed(cell) if cell.id == number else cell for cell in host.cells)
    )


def move_guest(question: Question, misfit: Misfit) -> Iterator[Change]:
    """One known guest moved from one cell to another; those with the least memory to move first."""
    order = sorted(question.guests, key=lambda guest: (guest.memory_kib, guest.name))
    for guest in order:
        try:
            without = release(question.usage, guest)
        except BadInput:
            continue  # the usage at hand does not hold this guest
        for moved, here, there in _moves(question, guest, without):
            usage = claim(without, moved)
            guests = tuple(moved if other is guest else other for other in question.guests)
            text = f"guest {guest.name} moved from cell {here} to {there}"
            change = f"move {guest.name}: cell {here} to {there}"
            yield Change(change, f"with {text}", msgspec.structs.replace(question, usage=usage, guests=guests))


def _moves(question: Question, guest: Placement, without: Usage) -> Iterator[tuple[Placement, int, int]]:
    room = measure_room(layout_of(question.host), without, question.limits)
    wanted = _as_asked(guest)
    homes = [cell.host_cell for cell in guest.cells]
    for at, here in enumerate(homes):
        for there in [cell.id for cell in question.host.cells if cell.id not in homes]:
            target = (*homes[:at], there, *homes[at + 1 :])
            moved = fit(room, msgspec.structs.replace(wanted, host_cells=target))
            if isinstance(moved, Placement):
                yield moved, here, there


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
    """The fewest owned pCPUs of one cell that their guests would have to give up."""
    short = {reason.host_cell for reason in misfit.misfits if reason.code in PCPU_CODES}
    found = [(freed, number) for number in short if number is not None and (freed := _fewest(question, number))]
    for freed, number in sorted(found, key=lambda entry: (len(entry[0]), entry[1])):
        owners = sorted({guest.name for guest in question.guests if guest.owned() & freed})
        whose = f", which guest{'s' * (len(owners) > 1)} {', '.join(owners)} own{'s' * (len(owners) == 1)}"
        text = f"pCPU{'s' * (len(freed) > 1)} {freed} of cell {number} freed" + (whose if owners else "")
        asked = msgspec.structs.replace(question, usage=_without(question.usage, number, freed))
        yield Change(f"free pCPUs {freed}", f"with {text}", asked)


def _fewest(question: Question, number: int) -> CpuSet:
    """Owned pCPUs of this cell, freed core by core, least used cores first, until it fits; then no more than needed."""
    cell = next(cell for cell in question.host.cells if cell.id == number)
    owned = next((used.pinned for used in question.usage.cells if used.id == number), CpuSet())
    cores = sorted((len(core.cpus & owned), core.cpus.first(), core.cpus & owned) for core in cell.cores)
    order = [cpu for _, _, mine in cores for cpu in mine] or list(owned)
    freed: list[int] = []
    for cpu in order:
        freed.append(cpu)
        if _fits_without(question, number, freed):
            break
    else:
        return CpuSet()
    for cpu in freed[:-1]:
        fewer = [other for other in freed if other != cpu]
        if _fits_without(question, number, fewer):
            freed = fewer
    return CpuSet(freed)


def _fits_without(question: Question, number: int, freed: list[int]) -> bool:
    usage = _without(question.usage, number, CpuSet(freed))
    return ask(msgspec.structs.replace(question, usage=usage)).fits


def _without(usage: Usage, number: int, freed: CpuSet) -> Usage:
    cells = tuple(
        msgspec.structs.replace(cell, pinned=cell.pinned - freed) if cell.id == number else cell for cell in usage.cells
    )
    return msgspec.structs.replace(usage, cells=cells)
