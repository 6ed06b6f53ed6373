"""The cheapest way to give every guest cell a host cell of its own where only single prices count: linear assignment.

The Hungarian method with potentials (Kuhn 1955, Munkres 1957; Jonker and Volgenant 1987 for the shortest augmenting
path), in exact integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

Row = dict[int, int]
"""Host cell → what a guest cell costs there."""


class Completion(msgspec.Struct, frozen=True):
    """The host cell of each guest cell, what they cost in sum, and what of it is ``due`` from each guest cell.

    With the host cells' rebates, which are not told, no guest cell finds a host cell for less than what is due from it.
    """

    hosts: tuple[int, ...]
    total: int
    due: list[int]


def complete(rows: Sequence[Row], *, due: Sequence[int] = (), rebate: Row | None = None) -> Completion | None:
    """The cheapest assignment, guest cell after guest cell, moving those before it where that is cheaper.

    The potentials ``due[g]`` and ``rebate[h]``: price - due - rebate is never negative, and 0 where assigned.  They may
    be given to begin with, which saves most moves, where there are as many host cells as guest cells.
    """
    potentials = list(due) or [0] * len(rows)
    rebates = dict.fromkeys(sorted({host for row in rows for host in row}), 0) if rebate is None else dict(rebate)
    owner: dict[int, int] = {}
    for guest in range(len(rows)):
        if not _assign_one(guest, rows, potentials, rebates, owner):
            return None
    host_of = {guest: host for host, guest in owner.items()}
    taken = tuple([host_of[guest] for guest in range(len(rows))])
    total = sum([row[host] for row, host in zip(rows, taken, strict=True)])
    return Completion(hosts=taken, total=total, due=potentials)


def _assign_one(guest: int, rows: Sequence[Row], due: list[int], rebate: Row, owner: dict[int, int]) -> bool:
    """Find the shortest path of moves that ends at a host cell nobody has, and make them; False when there is none."""
    reach: Row = {}  # host cell → the least that it costs to come there
    done: Row = {}  # the same of those whose owners may move on
    came_from: dict[int, int | None] = {}
    at: int | None = None
    spent, mover = 0, guest
    while True:
        ahead = spent - due[mover]
        for host, price in rows[mover].items():
            if host not in done:
                cost = ahead + price - rebate[host]
                if host not in reach or cost < reach[host]:
                    reach[host], came_from[host] = cost, at
        if not reach:
            return False
        spent, at = min([(cost, host) for host, cost in reach.items()])
        if at not in owner:
            break
        mover = owner[at]
        done[at] = reach.pop(at)
    due[guest] += spent
    for host, cost in done.items():
        due[owner[host]] += spent - cost
        rebate[host] -= spent - cost
    while at is not None:
        before = came_from[at]
        owner[at] = guest if before is None else owner[before]
        at = before
    return True
