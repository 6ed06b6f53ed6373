"""The cheapest way to give every guest cell a host cell of its own where only single prices count: linear assignment.

Guest cells of one shape take the cheapest host cells.  Different ones are assigned by the Hungarian method with
potentials (Kuhn 1955, Munkres 1957; Jonker and Volgenant 1987 for the shortest augmenting path), in exact integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

Row = dict[int, int]
"""Host cell → what a guest cell costs there."""


class Completion(msgspec.Struct, frozen=True):
    """The host cell of each guest cell, what they cost in sum, and how much more the sum is at least with a host cell.

    ``dearer`` is known where the guest cells are alike.
    """

    hosts: tuple[int, ...]
    total: int
    dearer: dict[int, int] = {}


def complete_alike(rows: Sequence[Row]) -> Completion | None:
    """For guest cells with the same prices: the cheapest host cells, in ascending order."""
    count = len(rows)
    order = sorted([(price, host) for host, price in rows[0].items()])
    if len(order) < count:
        return None
    taken = order[:count]
    highest = taken[-1][0]
    return Completion(
        hosts=tuple(sorted([host for _, host in taken])),
        total=sum([price for price, _ in taken]),
        dearer={host: max(0, price - highest) for price, host in order},
    )


def complete_apart(rows: Sequence[Row]) -> Completion | None:
    """For guest cells with prices of their own: one after the other, moving those before it where that is cheaper.

    ``due[g]`` and ``rebate[h]`` are the potentials: price - due - rebate is never negative, and 0 where assigned.
    """
    hosts = sorted({host for row in rows for host in row})
    due = [0] * len(rows)
    rebate = dict.fromkeys(hosts, 0)
    owner: dict[int, int] = {}
    for guest in range(len(rows)):
        if not _assign_one(guest, rows, due, rebate, owner):
            return None
    host_of = {guest: host for host, guest in owner.items()}
    taken = tuple(host_of[guest] for guest in range(len(rows)))
    return Completion(hosts=taken, total=sum([row[host] for row, host in zip(rows, taken, strict=True)]))


def _assign_one(guest: int, rows: Sequence[Row], due: list[int], rebate: Row, owner: dict[int, int]) -> bool:
    """Find the shortest path of moves that ends at a host cell nobody has, and make them; False when there is none."""
    reach: Row = {}  # host cell → the least that it costs to come there
    came_from: dict[int, int | None] = {}
    done: list[int] = []
    at: int | None = None
    spent = 0
    while True:
        mover = guest if at is None else owner[at]
        for host, price in rows[mover].items():
            if host in done:
                continue
            cost = spent + price - due[mover] - rebate[host]
            if host not in reach or cost < reach[host]:
                reach[host], came_from[host] = cost, at
        left = [(cost, host) for host, cost in reach.items() if host not in done]
        if not left:
            return False
        spent, at = min(left)
        if at not in owner:
            break
        done.append(at)
    due[guest] += spent
    for host in done:
        due[owner[host]] += spent - reach[host]
        rebate[host] -= spent - reach[host]
    while at is not None:
        before = came_from[at]
        owner[at] = guest if before is None else owner[before]
        at = before
    return True
