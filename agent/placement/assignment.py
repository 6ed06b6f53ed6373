"""The cheapest way to give every guest cell a host cell of its own, exactly.

The price of an answer is a sum over guest cells plus a sum over pairs of chosen host cells (see ``choice``): a small
quadratic assignment.  Pairs ask only which host cells are chosen, not for whom; so the search branches over sets of
host cells.  At every step the set is completed as if each host cell met only its cheapest companions, at half of their
pair price each (Gilmore and Lawler's bound), and the guest cells are assigned to it by ``cheapest``.  No completion
costs less; where the one found costs no more than that, the branch is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.placement.cheapest import Completion, complete_alike, complete_apart

Linear = Sequence[dict[int, int]]
"""For each guest cell: host cell index → price."""

Pairwise = Sequence[Sequence[int]]
"""Price of using two host cells together, by index."""

Late = Callable[[tuple[int, ...]], int | None]
"""What a whole answer costs beyond sums, or None where it is not allowed; never more for more host cells."""

FORCED = 1 << 512
"""Taken off the price of host cells that an assignment must use: more than any sum of prices."""


def assign(linear: Linear, pairwise: Pairwise, *, alike: bool, late: Late | None = None) -> tuple[int, ...] | None:
    """The host cell of each guest cell; None when there is no answer.

    ``alike``: all guest cells have the same prices.  Of several cheapest answers it is always the same one.
    """
    if len(linear) == 1 and late is None:
        return (min(linear[0], key=linear[0].__getitem__),) if linear[0] else None
    if alike and late is None and len(linear[0]) == len(linear):
        return tuple(sorted(linear[0]))
    search = _Search(linear, pairwise, late, alike=alike)
    search.descend((), 0)
    return search.best


class _Search:
    """One search; its only state is the best answer so far.  ``own`` is the least that a host cell costs for anyone."""

    def __init__(self, linear: Linear, pairwise: Pairwise, late: Late | None, *, alike: bool) -> None:
        self.linear, self.pairwise, self.late, self.alike = linear, pairwise, late, alike
        hosts = sorted({host for row in linear for host in row})
        self.own = {host: min([row[host] for row in linear if host in row]) for host in hosts}
        self.best: tuple[int, ...] | None = None
        self.best_price = 0

    def descend(self, taken: tuple[int, ...], pairs: int) -> None:
        """Complete ``taken``, ascending host cells whose pairs cost ``pairs``; or try each host cell as the next."""
        after = taken[-1] if taken else -1
        open_hosts = [host for host in self.own if host > after]
        wanted = len(self.linear) - len(taken)
        if not wanted:
            only = Completion(taken, 0) if self.alike else self._assign(taken, {})
            if only is not None:
                self._keep(only.hosts)
            return
        doubled = self._doubled(taken, open_hosts, wanted)
        found = complete_alike([{host: 2 * self.own[host] + doubled[host] for host in open_hosts}] * wanted)
        if found is None:
            return
        extra = self._extra((*taken, *open_hosts))
        if extra is None:
            return
        least = pairs + sum([self.own[host] for host in taken]) + (found.total + 1) // 2 + extra
        if self._beaten(least):
            return
        if self.alike:
            self._keep((*taken, *found.hosts))
        else:
            assigned = self._assign(taken, doubled)
            if assigned is None:
                return
            bound = pairs + (assigned.total + 1) // 2 + extra
            if self._beaten(bound):
                return
            self._keep(assigned.hosts)
            if self._beaten(bound):
                return
        for host in sorted(found.dearer, key=lambda host: (found.dearer[host], host)):
            if not self._beaten(least + found.dearer[host] // 2):
                row = self.pairwise[host]
                self.descend((*taken, host), pairs + sum([row[other] for other in taken]))

    def _doubled(self, taken: tuple[int, ...], open_hosts: list[int], wanted: int) -> dict[int, int]:
        """Twice the least that the pairs of each open host cell add: those with taken ones, and half of others."""
        doubled = {}
        for host in open_hosts:
            row = self.pairwise[host]
            mutual = sorted([row[other] for other in open_hosts if other != host]) if wanted > 1 else []
            doubled[host] = 2 * sum([row[other] for other in taken]) + sum(mutual[: wanted - 1])
        return doubled

    def _assign(self, taken: tuple[int, ...], doubled: dict[int, int]) -> Completion | None:
        """The cheapest assignment that uses all of ``taken``; its total is doubled too, without their pairs."""
        share = doubled | dict.fromkeys(taken, -FORCED)
        found = complete_apart(
            [{host: 2 * own + share[host] for host, own in row.items() if host in share} for row in self.linear]
        )
        if found is None or not set(taken) <= set(found.hosts):
            return None
        return Completion(found.hosts, found.total + FORCED * len(taken), found.dearer)

    def _beaten(self, least: int) -> bool:
        return self.best is not None and least >= self.best_price

    def _extra(self, chosen: tuple[int, ...]) -> int | None:
        return 0 if self.late is None else self.late(chosen)

    def _keep(self, chosen: tuple[int, ...]) -> None:
        extra = self._extra(chosen)
        if extra is None:
            return
        price = extra + sum([self.linear[guest][host] for guest, host in enumerate(chosen)])
        for place, host in enumerate(chosen):
            row = self.pairwise[host]
            price += sum([row[other] for other in chosen[:place]])
        if self.best is None or (price, chosen) < (self.best_price, self.best):
            self.best, self.best_price = chosen, price
