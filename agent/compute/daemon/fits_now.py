"""Whether an assigned placement can be carried out on this host as it is now: owners, sets, and pages that are free."""

from __future__ import annotations

from collections.abc import Sequence

from agent.compute.fits_here import check_placement
from agent.compute.usage import Claimant, sum_usage
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.misfit import Code
from agent.core.placement import Misfit, PlacedCell, Placement, Reason
from agent.core.topology import HostTopology
from agent.core.units import format_kib
from agent.core.usage import Limits
from agent.placement.layout import layout_of
from agent.placement.room import CellRoom, measure_room


def check_now(
    placement: Placement, host: HostTopology, claimants: Sequence[Claimant], limits: Limits
) -> Placement | Misfit:
    """The placement itself, or why this host no longer has what it names; the room is the placement engine's own."""
    try:
        answer = check_placement(placement, host, claimants)
    except BadInput as why:
        return _misfit(placement, host, [Reason(code=Code.NO_SUCH_PCPUS, message=str(why))])
    if not answer.fits:
        return answer
    room = measure_room(layout_of(host), sum_usage(claimants), limits)
    rooms = {cell.cell.id: cell for cell in room.cells}
    reasons = [
        reason
        for cell in placement.cells
        for reason in (_pcpus(cell, rooms[cell.host_cell]), _pages(cell, rooms[cell.host_cell], host))
        if reason is not None
    ]
    return _misfit(placement, host, reasons) if reasons else placement


def _pcpus(placed: PlacedCell, room: CellRoom) -> Reason | None:
    owned = CpuSet(cpu for vcpu in placed.owning() for cpu in placed.pins[vcpu])
    outside = owned - CpuSet.of_mask(room.free)
    if not outside:
        return None
    return Reason(
        code=Code.NOT_ENOUGH_PCPUS,
        message=f"pCPUs {outside} of cell {placed.host_cell} are not free dedicated pCPUs of this host",
        guest_cell=placed.guest_cell,
        host_cell=placed.host_cell,
        wanted=len(owned),
        available=len(owned - outside),
    )


def _pages(placed: PlacedCell, room: CellRoom, host: HostTopology) -> Reason | None:
    """Huge pages by what is booked and by what the kernel has; base pages by what is booked alone, they are swapped."""
    size = placed.pool_kib or placed.page_kib
    if size is None or size not in room.pools:
        return None
    free_kib = room.pools[size][1] * size
    if placed.huge:
        pools = next(cell.pages for cell in host.cells if cell.id == placed.host_cell)
        free = next((pool.free for pool in pools if pool.size_kib == size), None)
        free_kib = free_kib if free is None else min(free_kib, free * size)
    if free_kib >= placed.memory_kib:
        return None
    return Reason(
        code=Code.NOT_ENOUGH_PAGES,
        message=f"cell {placed.host_cell} has {format_kib(free_kib)} free in pages of {format_kib(size)}"
        f" of the {format_kib(placed.memory_kib)} wanted",
        guest_cell=placed.guest_cell,
        host_cell=placed.host_cell,
        wanted=placed.memory_kib,
        available=free_kib,
    )


def _misfit(placement: Placement, host: HostTopology, reasons: list[Reason]) -> Misfit:
    return Misfit(host=host.hostname, name=placement.name, misfits=tuple(reasons))
