"""How many more guests of one kind fit on a host.

Two numbers are found apart from each other: ``count``, by placing guests one after the other until none fits, on the
host cells that a plan gives them; and ``at_most``, from arithmetic over the free pCPUs, cores and pages.  Where they
meet the answer is exact; where they don't, it lies between them.

At most: a host cell holds so many guest cells of one shape as its scarcest resource allows (``b``).  Guests of one cell
then number the sum of all b.  A guest of k equal cells needs k different host cells, so t guests need ``sum(min(b, t))
>= k * t``: the largest such t, which is the closed form ``min over r < k of (sum b - sum of r largest b) // (k - r)``
of arXiv 2604.15033.  Where guest cells differ in shape, that holds for those of each shape alone, and for all of them
as if each were the least demanding.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from agent.core.claims import claim
from agent.core.guest import DeviceWish, GuestTopology, Shape
from agent.core.placement import Misfit, Placement, Reason
from agent.core.policy import CpuPolicy, PciAffinity, ThreadPolicy
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement.devices import matches
from agent.placement.engine import fit
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.room import CellRoom, Room, measure_room
from agent.placement.rules import find_refusal, sizes_wished, whole_cores

MOST = 10_000
"""A host that holds this many guests holds as many as anybody asks for: no more of them are placed."""


class CellCapacity(msgspec.Struct, frozen=True):
    """How many guest cells one host cell holds alone, if all were as the least demanding; None: no limit.

    ``like`` tells it for each guest cell of a guest whose cells differ: so many if all were like this one.
    """

    host_cell: int
    guest_cells: int | None
    like: tuple[int | None, ...] = ()


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` guests fit for certain, ``at_most`` is proven; both None when nothing limits floating guests.

    ``runs_out`` names the rule that most cells give for refusing one guest more, ``reasons`` all of them.
    """

    schema: str = "cellwright.capacity/1"
    host: str
    flavor: str
    count: int | None
    at_most: int | None
    exact: bool
    cells: tuple[CellCapacity, ...]
    runs_out: str | None = None
    reasons: tuple[Reason, ...] = ()


def capacity(host: HostTopology, usage: Usage, request: Request, limits: Limits | None = None) -> Capacity:
    """How many more guests as requested fit beside what guests hold; BadRequest for one that no host could serve."""
    guest = parse_guest(request)
    room = measure_room(layout_of(host), usage, limits)
    held = _hold(room, guest)
    per_cell = held[None]
    at_most = _bound(room, guest, held)
    if at_most is None and isinstance(fit(room, guest), Misfit):
        at_most = 0  # nothing limits how many there are of a guest that does not even fit once
    like = [held[shape] for shape in guest.cell_shapes] if len(guest.shapes) > 1 else []
    cells = tuple(
        CellCapacity(cell.cell.id, per_cell[index], tuple([each[index] for each in like]))
        for index, cell in enumerate(room.cells)
    )
    if at_most is None:
        return Capacity(host=host.hostname, flavor=guest.flavor, count=None, at_most=None, exact=True, cells=cells)
    count, reasons = max(
        (_fill(host, usage, guest, limits, plan) for plan in _plans(room, guest, per_cell, min(at_most, MOST))),
        key=lambda filled: filled[0],
    )
    if count == 0:
        at_most = 0  # one guest's fit is exact
    return Capacity(
        host=host.hostname,
        flavor=guest.flavor,
        count=count,
        at_most=at_most,
        exact=count == at_most,
        cells=cells,
        runs_out=_commonest(reasons),
        reasons=reasons,
    )


def most_guests(held: list[int], cells: int) -> int:
    """The most guests of ``cells`` equal cells on different host cells, host cell i holding ``held[i]`` guest cells."""
    ordered = sorted(held, reverse=True)
    return min(sum(ordered[largest:]) // (cells - largest) for largest in range(cells))


Plan = list[tuple[int, ...] | None]
"""The host cells of each guest in turn; None: wherever the engine likes."""


def _plans(room: Room, guest: GuestTopology, per_cell: list[int | None], count: int) -> list[Plan]:
    """Freely chosen; or always on the cells with most room left, counted in guest cells or in pCPUs, wasting none."""
    free: Plan = [None] * count
    if len(guest.cells) < 2 or len(guest.cells) > len(room.cells) or guest.host_cells is not None or guest.auto_cells:
        return [free]
    needs = [guest.shapes[kind].dedicated + guest.shapes[kind].extra for kind in guest.kinds]
    held = [count if most is None else most for most in per_cell]
    pcpus = [cell.free_count for cell in room.cells]
    return [_emptiest(room, held, [1] * len(needs), count), _emptiest(room, pcpus, needs, count), free]


def _emptiest(room: Room, held: list[int], needs: list[int], count: int) -> Plan:
    """The neediest guest cell on the host cell with most left, and so on, for each guest in turn."""
    left = list(held)
    order = sorted(range(len(needs)), key=lambda number: -needs[number])
    plan: Plan = []
    for _ in range(count):
        emptiest = sorted(range(len(left)), key=lambda index: (-left[index], index))
        chosen = [0] * len(needs)
        for number, index in zip(order, emptiest, strict=False):
            chosen[number] = room.cells[index].cell.id
            left[index] -= needs[number]
        plan.append(tuple(chosen))
    return plan


def _fill(
    host: HostTopology, usage: Usage, guest: GuestTopology, limits: Limits | None, plan: Plan
) -> tuple[int, tuple[Reason, ...]]:
    """Place as the plan says, then wherever one more fits; how many fitted, and why the next did not."""
    layout = layout_of(host)
    count = 0
    for wanted in (*plan, *[None] * len(plan)):
        if count == len(plan):
            break
        room = measure_room(layout, usage, limits)
        answer = fit(room, guest if wanted is None else msgspec.structs.replace(guest, host_cells=wanted))
        if isinstance(answer, Placement):
            usage = claim(usage, answer)
            count += 1
        elif wanted is None:
            return count, answer.misfits
    answer = fit(measure_room(layout, usage, limits), guest)
    return count, () if isinstance(answer, Placement) else answer.misfits


Held: TypeAlias = dict[Shape | None, list[int | None]]
"""For each shape of guest cell how many each host cell holds; and for None, of all of them as the least demanding."""


def _hold(room: Room, guest: GuestTopology) -> Held:
    everything = room.layout.online
    held: Held = {
        shape: [
            0 if find_refusal(cell, guest, shape, everything) is not None else _cell_bound(cell, guest, shape)
            for cell in room.cells
        ]
        for shape in guest.shapes
    }
    alike = len(guest.shapes) == 1
    held[None] = held[guest.shapes[0]] if alike else [_cell_bound(cell, guest, _least(guest)) for cell in room.cells]
    return held


def _bound(room: Room, guest: GuestTopology, held: Held) -> int | None:
    """The most guests that arithmetic allows; None when nothing limits them."""
    bounds = [_device_bound(room, guest, wish, held[None]) for wish in guest.devices]
    if guest.cells:
        bounds += _cell_bounds(room, guest, held)
    return min(bounds, default=None)


def _cell_bounds(room: Room, guest: GuestTopology, held: Held) -> list[int]:
    owned = sum(shape.dedicated + shape.extra for shape in guest.cell_shapes)
    bounds = [sum(cell.free_count for cell in room.cells) // owned] if owned else []
    if guest.auto_cells:
        return bounds or ([] if None in held[None] else _split_bounds(room, guest))
    if guest.host_cells is not None:
        index_of = {cell.cell.id: index for index, cell in enumerate(room.cells)}
        for number, shape in zip(guest.host_cells, guest.cell_shapes, strict=True):
            count = held[shape][index_of[number]] if number in index_of else 0
            bounds += [] if count is None else [count]
        return bounds
    if len(guest.cells) > len(room.cells):
        return [0]
    for like, per_cell in held.items():
        cells = len(guest.cells) if like is None else guest.cell_shapes.count(like)
        if sum(count is None for count in per_cell) < cells:
            bounds.append(most_guests([MOST if count is None else count for count in per_cell], cells))
    return bounds


def _split_bounds(room: Room, guest: GuestTopology) -> list[int]:
    """A floating guest that may be split takes of all cells together what it takes of one."""
    pages = [cell.pools[size][1] * size for cell in room.cells for size in sizes_wished(cell, guest)]
    vcpus = [int(cell.floating_limit) - cell.floating_vcpus for cell in room.cells if cell.floating_limit is not None]
    kib = [
        int(cell.memory_limit_kib) - cell.memory_used_kib for cell in room.cells if cell.memory_limit_kib is not None
    ]
    return [
        sum(max(0, left) for left in lefts) // wanted
        for lefts, wanted, bound in (
            (pages, guest.memory_kib, guest.page is not None),
            (vcpus, guest.vcpus, bool(vcpus)),
            (kib, guest.memory_kib, bool(kib)),
        )
        if bound
    ]


def _least(guest: GuestTopology) -> Shape:
    """The shape that every guest cell asks at least for."""
    shapes = guest.shapes or (Shape(0, 0, 0, 0),)
    return Shape(
        dedicated=min(shape.dedicated for shape in shapes),
        floating=min(shape.floating for shape in shapes),
        memory_kib=min(shape.memory_kib for shape in shapes),
        extra=min(shape.extra for shape in shapes),
    )


def _cell_bound(room: CellRoom, guest: GuestTopology, shape: Shape) -> int | None:
    """How many guest cells of this shape one host cell can hold at most: its scarcest resource decides."""
    if not guest.cells:
        return None
    bounds = []
    if guest.page is not None:
        fitting = (size for size in sizes_wished(room, guest) if shape.memory_kib % size == 0)
        bounds.append(sum(room.pools[size][1] * size // shape.memory_kib for size in fitting))
    elif guest.cpu_policy is not CpuPolicy.SHARED and room.pools:
        size = next(iter(room.pools))
        bounds.append(room.pools[size][1] * size // shape.memory_kib)
    elif guest.cpu_policy is not CpuPolicy.SHARED:
        bounds.append(room.memory_free_kib // shape.memory_kib)
    if shape.dedicated:
        bounds.append(_packed(room, guest, shape))
    if guest.cpu_policy is not CpuPolicy.DEDICATED:
        if room.floating_limit is not None and shape.floating:
            bounds.append(int((room.floating_limit - room.floating_vcpus) // shape.floating))
        if room.memory_limit_kib is not None:
            bounds.append(int((room.memory_limit_kib - room.memory_used_kib) // shape.memory_kib))
    return max(0, min(bounds)) if bounds else None


def _packed(room: CellRoom, guest: GuestTopology, shape: Shape) -> int:
    """How many times the dedicated vCPUs of the shape, and what is kept beside them, go into the free cores."""
    wanted = shape.dedicated + shape.extra
    groups = room.cell.group_masks if guest.l3 is not None and guest.l3.relation == "one" else (room.free,)
    packed = sum(_packed_into(room, guest, shape, room.free & group) for group in groups)
    if guest.thread_policy is ThreadPolicy.ISOLATE:
        return min(packed, sum(1 for core in room.cell.cores if core & room.free) // wanted)
    return min(packed, room.free_count // wanted)


def _packed_into(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> int:
    if guest.thread_policy is ThreadPolicy.ISOLATE:
        return len(whole_cores(room, free)) // shape.dedicated
    if guest.thread_policy is not ThreadPolicy.REQUIRE:
        return free.bit_count() // shape.dedicated
    counts = [count for core in room.cell.cores if (count := (core & free).bit_count()) > 1]
    if max(counts, default=0) <= 2:
        return len(counts) // -(-shape.dedicated // 2)  # an odd vCPU takes a core that no other guest can require
    if shape.dedicated <= 2:  # a core's last thread is nobody's, so one vCPU leaves it; two vCPUs are of one core
        return sum(count - 1 if shape.dedicated == 1 else count // 2 for count in counts)
    return sum(counts) // shape.dedicated


def _device_bound(room: Room, guest: GuestTopology, wish: DeviceWish, per_cell: list[int | None]) -> int:
    """How many guests the free devices of one wish are enough for.

    For guests of one cell that want them near: in each zone, a cell or the cells of a socket, as many as it has devices
    for and room; then one more guest after the other where the fewest devices of no known cell make up what is missing.
    """
    free = [
        sum(matches(device, wish.alias) and device.pci not in room.devices_used for device in devices)
        for devices in (room.layout.loose_devices, *[cell.devices for cell in room.layout.cells])
    ]
    by_socket = guest.pci_affinity is PciAffinity.SOCKET
    wide = by_socket and any(len(cell.sockets) > 1 for cell in room.layout.cells)
    if wide or len(guest.cells) != 1 or guest.auto_cells or guest.pci_affinity is PciAffinity.PREFERRED:
        return sum(free) // wish.count
    loose = free[0] if guest.pci_affinity is PciAffinity.LEGACY else 0
    zones: dict[object, tuple[int, int]] = {}
    for cell, held, here in zip(room.layout.cells, per_cell, free[1:], strict=True):
        zone = cell.sockets if by_socket else cell.index
        devices, guests = zones.get(zone, (0, 0))
        zones[zone] = devices + here, guests + (MOST if held is None else held)
    count = sum(min(devices // wish.count, guests) for devices, guests in zones.values())
    more = sorted(
        wish.count - (devices % wish.count if first else 0)
        for devices, guests in zones.values()
        for first in [True] * (guests > devices // wish.count)
        + [False] * min(loose, max(0, guests - devices // wish.count - 1))
    )
    for missing in more:
        loose -= missing
        count += loose >= 0
    return count


def _commonest(reasons: tuple[Reason, ...]) -> str | None:
    codes = sorted(reason.code for reason in reasons)
    return max(codes, key=codes.count, default=None)
