"""``cw:numa_nodes=auto``: one guest cell cut into as many parts as needed, as even as vCPUs and pages allow."""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.guest import GuestCell, GuestTopology, PageWish

UNIT_KIB = 1024
LARGE_UNIT_KIB = 2048


def split_guest(guest: GuestTopology, count: int) -> GuestTopology:
    """The guest in ``count`` cells with consecutive vCPUs; the first ones get what does not divide."""
    if count == 1:
        return guest
    whole = guest.cells[0]
    unit = guest.page if isinstance(guest.page, int) else LARGE_UNIT_KIB if guest.page is PageWish.LARGE else UNIT_KIB
    memory = [units * unit for units in _even(whole.memory_kib // unit, count)]
    memory[0] += whole.memory_kib % unit
    cells = []
    first = 0
    for vcpus, memory_kib in zip(_even(guest.vcpus, count), memory, strict=True):
        part = CpuSet(range(first, first + vcpus))
        cells.append(GuestCell(part, part & whole.dedicated, memory_kib))
        first += vcpus
    return msgspec.structs.replace(guest, cells=tuple(cells))


def _even(total: int, count: int) -> list[int]:
    each, rest = divmod(total, count)
    return [each + (number < rest) for number in range(count)]
