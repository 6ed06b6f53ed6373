"""Which of several feasible answers is best: the one order that every choice between cells follows.

The order, first difference decides:

1. device locality: fewest wished devices far away; a guest without wishes stays off cells that have devices;
2. distance: the smallest sum over all pairs of chosen cells;
3. L3 groups spanned, and sockets;
4. whole cores broken;
5. cells and cell pairs broken: for guests of one cell, first cells nobody touched, then room for guests of two cells
   destroyed (``packing``); then untouched partners of which one is taken without the other;
6. how full the cells become: fullest first, so that empty cells stay whole;
7. lowest cell ids.

That is ``balanced``.  The operator's ``pack`` and ``spread`` put the sixth in the third place, fullest or emptiest
first.

Everything but distance, sockets and pairs is a sum over the guest cells; those three are sums over pairs of cells.  So
the order becomes one integer, each place wide enough never to carry into the one above, and adding up stays exact.
"""

from __future__ import annotations

from agent.core.guest import GuestTopology, Shape
from agent.core.policy import PackingPolicy
from agent.placement.cores import Plan
from agent.placement.layout import Layout
from agent.placement.room import CellRoom
from agent.placement.rules import SHARED

PLACE_BITS = 24
"""Room for the sum of one place over all guest cells."""

MEMORY_BITS = 32
"""Fullness counts free pCPUs, and among equals free MiB."""

MOST_MIB = (1 << MEMORY_BITS) - 1
FULLNESS_BITS = 56
ID_BITS = 160
"""Lowest ids: cell N counts 2^N, so the highest cell of two sets decides first; enough for 128 cells."""

_ORDERS = {
    PackingPolicy.BALANCED: ("devices", "distance", "spanned", "sockets", "broken", "pairs", "fullness", "ids"),
    PackingPolicy.PACK: ("devices", "distance", "fullness", "spanned", "sockets", "broken", "pairs", "ids"),
    PackingPolicy.SPREAD: ("devices", "distance", "fullness", "spanned", "sockets", "broken", "pairs", "ids"),
}


def _weights(order: tuple[str, ...]) -> dict[str, int]:
    shift = 0
    weights = {}
    for name in reversed(order):
        weights[name] = 1 << shift
        shift += {"ids": ID_BITS, "fullness": FULLNESS_BITS}.get(name, PLACE_BITS)
    return weights


WEIGHTS = {policy: _weights(order) for policy, order in _ORDERS.items()}


def price_cell(room: CellRoom, guest: GuestTopology, shape: Shape, *, packing: PackingPolicy, pairs: int) -> int:
    """What it costs to put one guest cell here, alone, whichever pCPUs it gets; ``pairs``: what it breaks of pairs."""
    weight = WEIGHTS[packing]
    if guest.cpu_policy is SHARED:
        cpus_left = max(0, (1 << 14) - room.floating_vcpus - shape.floating)
    else:
        cpus_left = room.free_count - shape.dedicated - shape.extra
    mib_left = (room.memory_free_kib - shape.memory_kib) >> 10
    left = (cpus_left << MEMORY_BITS) + (0 if mib_left < 0 else min(mib_left, MOST_MIB))
    if packing is PackingPolicy.SPREAD:
        left = (1 << 47) - left
    price = pairs * weight["pairs"] + left * weight["fullness"] + (1 << room.cell.index)
    if room.cell.device_count and not guest.devices:
        price += room.cell.device_count * weight["devices"]
    return price


def price_plan(plan: Plan, *, packing: PackingPolicy) -> int:
    """What the pCPUs that it gets add to that: nothing for the best plan there is, less only if siblings stay idle."""
    if plan.spanned <= 1 and not plan.broken and not plan.idle:
        return 0
    weight = WEIGHTS[packing]
    idle = plan.idle.bit_count() << MEMORY_BITS
    return (
        max(0, plan.spanned - 1) * weight["spanned"]
        + plan.broken * weight["broken"]
        + (idle if packing is PackingPolicy.SPREAD else -idle) * weight["fullness"]
    )


def price_pair(layout: Layout, one: int, other: int, *, packing: PackingPolicy, paired: bool) -> int:
    """What it costs to use two cells together; ``paired``: they are untouched partners, so their pair stays whole."""
    weight = WEIGHTS[packing]
    apart = layout.cells[one].sockets != layout.cells[other].sockets
    return layout.distances[one][other] * weight["distance"] + apart * weight["sockets"] - 2 * paired * weight["pairs"]
