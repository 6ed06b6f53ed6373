"""The placement of one guest on one host, pure: a room and a guest topology in, a Placement or a Misfit out.

The steps:

1. A guest without cells floats over the shared set, and always fits.
2. For each shape of guest cell and each host cell, ask the rules (``rules``): fits, or which rule says no.
3. Match guest cells with host cells (``matching``).  Without a matching the answer is every refusal and who competes.
4. Plan the cores on the cells that came through (``cores``) and price them (``choice``); for a guest of one cell only
   while a cell can still be the cheapest.
5. Take the cheapest assignment (``assignment``), exactly; devices count once the cells are chosen (``devices``).
6. Write the decision down (``answer``), and the caches that shares are cut from (``shares``); where those are too
   small, once more on the pCPUs behind caches that are not.

Same input, same answer: nothing here depends on the order of cells, cores, dicts or sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.guest import DeviceWish, GuestTopology, Shape
from agent.core.misfit import Code
from agent.core.placement import Misfit, PlacedDevice, Placement, Reason
from agent.placement.answer import render_answer
from agent.placement.assignment import assign
from agent.placement.choice import price_cell, price_pair, price_plan
from agent.placement.cores import Plan, plan_cores
from agent.placement.devices import choose_devices
from agent.placement.matching import find_violators
from agent.placement.packing import pair_room_lost
from agent.placement.reasons import contended, explain_refusal
from agent.placement.room import Room
from agent.placement.rules import DEDICATED, SHARED, Refusal, find_refusal
from agent.placement.shares import add_shares, suitable_pcpus
from agent.placement.split import split_guest

UNTOUCHED = 1 << 20
"""Weighs more than all pair room of a host: a cell nobody touched stays whole for a guest that needs it whole."""

NO_GUESTS: Mapping[str, CpuSet] = {}


def fit(room: Room, guest: GuestTopology, *, guests: Mapping[str, CpuSet] = NO_GUESTS) -> Placement | Misfit:
    """Place a guest into a host's room.

    ``guests`` names the pCPUs that other guests of this host own or float over, for ``cw:l3`` wishes.
    """
    answer = _fit(room, guest, guests)
    if not answer.fits or not (guest.cache_wishes or guest.bandwidth_wishes):
        return answer
    cut_shares = partial(add_shares, room.layout, caches=guest.cache_wishes, bandwidths=guest.bandwidth_wishes)
    shared = cut_shares(answer)
    if shared.fits or guest.cpu_policy is not DEDICATED:
        return shared
    again = _fit(room.within(suitable_pcpus(room.layout, guest.cache_wishes)), guest, guests)
    return cut_shares(again) if again.fits else shared


def _fit(room: Room, guest: GuestTopology, guests: Mapping[str, CpuSet]) -> Placement | Misfit:
    if not guest.cells:
        return _float(room, guest)
    if guest.iothreads.count:
        where = guest.iothreads.where
        if isinstance(where, CpuSet) and where.mask & ~room.layout.online:
            message = f"the host has not all of pCPUs {where}"
            return _misfit(room, guest, [Reason(code=Code.NO_SUCH_PCPUS, message=message)])
    if not guest.auto_cells:
        return _fit_cells(room, guest, guests)
    whole = _fit_cells(room, guest, guests)
    if whole.fits:
        return whole
    for count in range(2, min(len(room.cells), guest.vcpus) + 1):
        answer = _fit_cells(room, split_guest(guest, count), guests)
        if answer.fits:
            return answer
    nor = Reason(code=Code.TOO_FEW_CELLS, message="split over more cells (cw:numa_nodes=auto) it does not fit either")
    return msgspec.structs.replace(whole, misfits=(*whole.misfits, nor))


def _float(room: Room, guest: GuestTopology) -> Placement | Misfit:
    devices = choose_devices(room, guest, ())
    if isinstance(devices, DeviceWish):
        return _misfit(room, guest, [_too_few(guest, devices)])
    return render_answer(room, guest, chosen=(), plans=(), devices=devices[0])


def _fit_cells(room: Room, guest: GuestTopology, guests: Mapping[str, CpuSet]) -> Placement | Misfit:
    if len(guest.cells) > len(room.cells):
        wanted, available = len(guest.cells), len(room.cells)
        message = f"the host has {available} cell{'s' * (available > 1)} for {wanted} guest cells"
        return _misfit(
            room, guest, [Reason(code=Code.TOO_FEW_CELLS, message=message, wanted=wanted, available=available)]
        )
    allowed = _allowed(room, guest, guests)
    if isinstance(allowed, Reason):
        return _misfit(room, guest, [allowed])
    refusals = [[find_refusal(cell, guest, shape, allowed) for cell in room.cells] for shape in guest.shapes]
    masks = [sum([1 << index for index, refusal in enumerate(row) if refusal is None]) for row in refusals]
    fits = [masks[kind] for kind in guest.kinds]
    if guest.host_cells is not None:
        fits = [mask & _wished(room, wanted) for mask, wanted in zip(fits, guest.host_cells, strict=True)]
    if violators := find_violators(fits):
        return _misfit(room, guest, _reasons(room, guest, refusals, fits, violators))
    return _choose(room, guest, fits, allowed)


def _choose(room: Room, guest: GuestTopology, fits: list[int], allowed: int) -> Placement | Misfit:
    """Steps 4 to 6, for a guest whose cells can be matched."""
    if len(fits) == 1 and not guest.devices:
        index, plan = _choose_cell(room, guest, fits[0], allowed)
        return render_answer(room, guest, chosen=(index,), plans=(plan,), devices=())
    plans: list[dict[int, Plan]] = [{} for _ in guest.shapes]
    prices: list[dict[int, int]] = [{} for _ in guest.shapes]
    linear: list[dict[int, int]] = []
    for kind, mask in zip(guest.kinds, fits, strict=True):
        shape, plan_of, price_of = guest.shapes[kind], plans[kind], prices[kind]
        indices = _indices(mask)
        for index in indices:
            if index not in plan_of:
                plan = plan_of[index] = plan_cores(room.cells[index], guest, shape, allowed)
                price_of[index] = _price(room, guest, shape, index, plan.idle) + price_plan(plan, packing=room.packing)
        linear.append({index: price_of[index] for index in indices})
    unmet: list[DeviceWish] = []  # the one that came nearest to being met
    given: dict[frozenset[int], tuple[PlacedDevice, ...]] = {}

    def price_devices(chosen: tuple[int, ...]) -> int | None:
        found = choose_devices(room, guest, chosen)
        if isinstance(found, DeviceWish):
            unmet[:] = [max(*unmet, found, key=lambda wish: wish.count)] if unmet else [found]
            return None
        given[frozenset(chosen)] = found[0]
        return found[1] << 400

    chosen = assign(
        linear,
        _pairwise(room),
        alike=len(guest.shapes) == 1 and guest.host_cells is None,
        late=price_devices if guest.devices else None,
    )
    if chosen is None:
        return _misfit(room, guest, [_too_few(guest, wish) for wish in unmet])
    return render_answer(
        room,
        guest,
        chosen=chosen,
        plans=[plans[kind][index] for kind, index in zip(guest.kinds, chosen, strict=True)],
        devices=given.get(frozenset(chosen), ()),
    )


def _choose_cell(room: Room, guest: GuestTopology, fits: int, allowed: int) -> tuple[int, Plan]:
    """Where a guest of one cell goes: cells are planned cheapest first, and only while one can still be the best."""
    shape = guest.shapes[0]
    options = sorted([(_price(room, guest, shape, i, 0), i) for i in range(len(room.cells)) if fits >> i & 1])
    priced: list[tuple[int, int, Plan]] = []
    for least, index in options:
        if priced and least >= priced[0][0] and not priced[0][2].idle:
            break
        plan = plan_cores(room.cells[index], guest, shape, allowed)
        alone = _price(room, guest, shape, index, plan.idle) if plan.idle else least
        price = alone + price_plan(plan, packing=room.packing)
        if not priced or price < priced[0][0]:
            priced = [(price, index, plan)]
    ((_, index, plan),) = priced
    return index, plan


def _allowed(room: Room, guest: GuestTopology, guests: Mapping[str, CpuSet]) -> int | Reason:
    """The pCPUs that a wish about another guest's L3 groups leaves; all of them without one."""
    everything = room.layout.online
    if guest.l3 is None or guest.l3.relation == "one":
        return everything
    other = guests.get(guest.l3.guest)
    if other is None:
        if guest.l3.relation == "other":
            return everything
        return Reason(code=Code.NO_SUCH_GUEST, message=f"guest {guest.l3.guest} of cw:l3 is not on this host")
    groups = sum(group for cell in room.layout.cells for group in cell.l3_masks if group & other.mask)
    return groups if guest.l3.relation == "same" else everything & ~groups


def _wished(room: Room, wanted: int) -> int:
    """The mask of the one host cell that ``cw:host_cells`` names; 0 when there is none such."""
    return sum(1 << cell.index for cell in room.layout.cells if cell.id == wanted)


def _indices(mask: int) -> list[int]:
    return [index for index in range(mask.bit_length()) if mask >> index & 1]


def _price(room: Room, guest: GuestTopology, shape: Shape, index: int, idle: int) -> int:
    """What a cell costs for all that is known before its cores are planned, but for the siblings then kept idle."""
    pairs = _pairs_broken(room, guest, shape, index, idle)
    return price_cell(room.cells[index], guest, shape, packing=room.packing, pairs=pairs)


def _pairs_broken(room: Room, guest: GuestTopology, shape: Shape, index: int, idle: int) -> int:
    """Whether this splits an untouched pair; for dedicated guests of one cell before that, whether it opens an
    untouched cell, and the pair room it destroys.
    """
    paired, counted = room.whole_pairs[index], room.counted
    if counted is None or len(guest.cells) > 1 or guest.cpu_policy is SHARED:
        return paired
    cell = room.cells[index]
    pcpus = cell.free_count - shape.dedicated - shape.extra - idle.bit_count()
    shares = (cell.memory_free_kib - shape.memory_kib) // room.kib_per_pcpu
    return cell.untouched * UNTOUCHED + 2 * pair_room_lost(counted, index, (max(0, pcpus), max(0, shares))) + paired


def _pairwise(room: Room) -> list[list[int]]:
    """The price of every pair of host cells, worked out at the first question and kept with the room."""
    kept: list[list[int]] | None = room.__dict__.get("_pairwise")
    if kept is None:
        kept = room.__dict__["_pairwise"] = _price_pairs(room)
    return kept


def _price_pairs(room: Room) -> list[list[int]]:
    everywhere = range(len(room.cells))
    partners = room.layout.partners
    return [
        [
            price_pair(
                room.layout,
                one,
                other,
                packing=room.packing,
                paired=partners[one] == other and room.whole_pairs[one],
            )
            for other in everywhere
        ]
        for one in everywhere
    ]


def _reasons(
    room: Room,
    guest: GuestTopology,
    refusals: list[list[Refusal | None]],
    fits: list[int],
    violators: tuple[int, ...],
) -> list[Reason]:
    """Every pair's binding rule; first of all, which guest cells compete, where each has a place but not all do."""
    reasons = []
    if all(fits):
        union = 0
        for number in violators:
            union |= fits[number]
        reasons.append(contended(violators, [cell.cell.id for cell in room.cells if union >> cell.cell.index & 1]))
    if guest.host_cells is not None:
        known = {cell.id for cell in room.layout.cells}
        for number, wanted in enumerate(guest.host_cells):
            if wanted not in known:
                message = f"cw:host_cells names cell {wanted}, which the host does not have"
                reasons.append(Reason(code=Code.NO_SUCH_CELL, message=message, guest_cell=number, host_cell=wanted))
    for number, kind in enumerate(guest.kinds):
        for index, cell in enumerate(room.cells):
            refusal = refusals[kind][index]
            if refusal is None and not fits[number] >> index & 1:
                refusal = (Code.NOT_THE_CELL_WISHED, None, None)
            if refusal is not None:
                reasons.append(explain_refusal(refusal, guest=guest, number=number, room=cell))
    return reasons


def _too_few(guest: GuestTopology, found: DeviceWish) -> Reason:
    wanted = next(wish.count for wish in guest.devices if wish.alias == found.alias)
    where = f"near enough to cells with room ({guest.pci_affinity})" if guest.cells else "on the host"
    verb = "is" if found.count == 1 else "are"
    return Reason(
        code=Code.NOT_ENOUGH_DEVICES,
        message=f"{found.count} of the {wanted} devices {found.alias} wanted {verb} free {where}",
        wanted=wanted,
        available=found.count,
    )


def _misfit(room: Room, guest: GuestTopology, reasons: list[Reason]) -> Misfit:
    return Misfit(host=room.layout.hostname, name=guest.name, misfits=tuple(reasons))
