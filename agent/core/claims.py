"""Claim and release: what one placement adds to a host's usage, and takes away again.

The two are exact inverses in any order: usage is the sum of its claims, whatever came and went in between.  What a
placement reserves without saying on which cell is booked on its first.
"""

from __future__ import annotations

from agent.core.cpuset import EMPTY, CpuSet
from agent.core.errors import BadInput
from agent.core.placement import PlacedCell, Placement
from agent.core.usage import CellUsage, PageUse, Usage


def claim(usage: Usage, placement: Placement) -> Usage:
    """Usage with this guest; BadInput when it would own a pCPU or device that another guest has."""
    return _change(usage, placement, +1)


def release(usage: Usage, placement: Placement) -> Usage:
    """Usage without this guest; BadInput when it does not hold what the placement says."""
    return _change(usage, placement, -1)


def _change(usage: Usage, placement: Placement, sign: int) -> Usage:
    cells = {cell.id: cell for cell in usage.cells}
    loose = placement.reserved
    for placed in placement.cells:
        loose = loose - placed.reserved
    for placed in placement.cells:
        held = cells.get(placed.host_cell, CellUsage(placed.host_cell))
        cells[placed.host_cell] = _change_cell(
            held, placed, owned=_pins(placed) | placed.reserved | loose, name=placement.name, sign=sign
        )
        loose = EMPTY
    return Usage(cells=tuple(cells.values()), devices=_change_devices(usage, placement, sign), schema=usage.schema)


def _pins(placed: PlacedCell) -> CpuSet:
    mask = 0
    for vcpu in placed.owning():
        mask |= placed.pins[vcpu].mask
    return CpuSet.of_mask(mask)


def _change_cell(held: CellUsage, placed: PlacedCell, *, owned: CpuSet, name: str, sign: int) -> CellUsage:
    if sign > 0 and held.pinned & owned:
        raise BadInput(f"guest {name}: pCPUs {held.pinned & owned} of cell {held.id} belong to another guest")
    if sign < 0 and not owned <= held.pinned:
        raise BadInput(f"guest {name}: pCPUs {owned - held.pinned} of cell {held.id} are not held by any guest")
    pages = {page.size_kib: page.used for page in held.pages}
    if placed.pool_kib:
        pages[placed.pool_kib] = pages.get(placed.pool_kib, 0) + sign * (placed.memory_kib // placed.pool_kib)
    try:
        return CellUsage(
            id=held.id,
            pinned=held.pinned | owned if sign > 0 else held.pinned - owned,
            floating_vcpus=held.floating_vcpus + sign * (len(placed.vcpus) - len(placed.owning())),
            memory_kib=held.memory_kib + sign * placed.memory_kib,
            pages=tuple(PageUse(size, used) for size, used in pages.items()),
        )
    except ValueError as why:
        raise BadInput(f"guest {name}: {why}") from why


def _change_devices(usage: Usage, placement: Placement, sign: int) -> tuple[str, ...]:
    mine = {device.pci for device in placement.devices}
    held = set(usage.devices)
    wrong = mine & held if sign > 0 else mine - held
    if wrong:
        kind = "belong to another guest" if sign > 0 else "are not held by any guest"
        raise BadInput(f"guest {placement.name}: devices {', '.join(sorted(wrong))} {kind}")
    return tuple(sorted(held | mine if sign > 0 else held - mine))
