"""The cheapest way to give every guest cell a host cell of its own, exactly.

The price of an answer is a sum over guest cells plus a sum over pairs of chosen host cells (see ``choice``): a small
quadratic assignment.  Pairs ask only which host cells are chosen, not for whom; so the search branches over sets of
host cells.  Two bounds never ask more than the truth:

- what a set costs its pairs: as if each host cell met only its cheapest companions, at half of their pair price each
  (Gilmore and Lawler's bound);
- what it costs the guest cells: with the shares ``due`` that each guest cell pays in the cheapest assignment of all
  (``cheapest``), a host cell adds at least the least that any guest cell would pay there beyond its share.

With both, the best completion of a set is the cheapest host cells by number.  It is priced truly, guest cells assigned
to it by ``cheapest``; and where it costs no more than the bound, the branch is done.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from agent.placement.cheapest import complete
from agent.placement.matching import find_violators

Linear = Sequence[dict[int, int]]
"""For each guest cell: host cell index → price."""

Pairwise = Sequence[Sequence[int]]
"""Price of using two host cells together, by index."""

Late = Callable[[tuple[int, ...]], int | None]
"""What a whole answer costs beyond sums, or None where it is not allowed; never more for more host cells."""


def assign(linear: Linear, pairwise: Pairwise, *, alike: bool, late: Late | None = None) -> tuple[int, ...] | None:
    """The host cell of each guest cell; None when there is no answer.

    ``alike``: all guest cells have the same prices.  Of several cheapest answers it is always the same one.
    """
    if len(linear) == 1 and late is None:
        return (min(linear[0], key=linear[0].__getitem__),) if linear[0] else None
    if alike and late is None and len(linear[0]) == len(linear):
        return tuple(sorted(linear[0]))
    search = _Search(linear, pairwise, late, alike=alike)
    search.descend((), search.own, 0)
    return search.best


class _Search:
    """One search; its only state is the best answer so far.  Prices within are doubled, so that halves stay exact.

    ``own`` is the least that a host cell costs anyone beyond its share, ``due`` each guest cell's share, ``near`` what
    a host cell and each other cost as a pair, cheapest first; ``fits`` masks the host cells of each guest cell.
    """

    def __init__(self, linear: Linear, pairwise: Pairwise, late: Late | None, *, alike: bool) -> None:
        self.linear, self.pairwise, self.late, self.alike = linear, pairwise, late, alike
        self.best: tuple[int, ...] | None = None
        self.best_price = self.shares = 0
        self.due: list[int] = []
        self.fits = [sum([1 << host for host in row]) for row in linear]
        hosts = sorted({host for row in linear for host in row})
        self.near = {
            host: sorted([(pairwise[host][other], other) for other in hosts if other != host]) for host in hosts
        }
        self.own = {host: 2 * price for host, price in linear[0].items()}
        if not alike:
            met = {host: self._half_met(host, self.near, len(linear) - 1) for host in hosts}
            cheapest = complete([{host: 2 * price + met[host] for host, price in row.items()} for row in linear])
            self.own = {}
            if cheapest is not None:
                beyond = [
                    (host, 2 * price - due)
                    for row, due in zip(linear, cheapest.due, strict=True)
                    for host, price in row.items()
                ]
                self.own = {host: min([price for other, price in beyond if other == host]) for host in hosts}
                self.due, self.shares = cheapest.due, sum(cheapest.due)
                self._try(cheapest.hosts)

    def descend(self, taken: tuple[int, ...], left: Mapping[int, int], spent: int) -> None:
        """Try ``taken``, host cells that cost ``spent``, with each set of others that makes it whole.

        ``left``: what each of these costs, alone and with those taken.
        """
        wanted = len(self.linear) - len(taken)
        if not wanted:
            self._try(taken)
            return
        if len(left) < wanted:
            return
        extra = self._extra((*taken, *left))
        if extra is None:
            return
        order = sorted([(price + self._half_met(host, left, wanted - 1), host) for host, price in left.items()])
        completion = order[:wanted]
        least = self.shares + spent + 2 * extra + sum([price for price, _ in completion])
        if self._beaten(least):
            return
        if not self._try((*taken, *[host for _, host in completion])) and not self._match((*taken, *left)):
            return
        left = dict(left)
        for price, host in order:
            if self._beaten(least + max(0, price - completion[-1][0])):
                return
            cost, row = left.pop(host), self.pairwise[host]
            self.descend((*taken, host), {other: price + 2 * row[other] for other, price in left.items()}, spent + cost)

    def _half_met(self, host: int, among: Container[int], count: int) -> int:
        """What a host cell bears of its pairs with so many others, the cheapest: half of it, doubled."""
        return sum([price for price, other in self.near[host] if other in among][:count])

    def _match(self, hosts: tuple[int, ...]) -> bool:
        """Whether each guest cell can have one of these host cells."""
        among = sum([1 << host for host in hosts])
        return not find_violators([fits & among for fits in self.fits])

    def _beaten(self, least: int) -> bool:
        return self.best is not None and least >= self.best_price

    def _extra(self, chosen: tuple[int, ...]) -> int | None:
        return 0 if self.late is None else self.late(chosen)

    def _try(self, chosen: tuple[int, ...]) -> bool:
        """Price a whole set, and keep it when it is the cheapest so far; False when the guest cells have no match."""
        chosen = tuple(sorted(chosen))
        extra = self._extra(chosen)
        if extra is None:
            return True
        around = 2 * extra
        for place, host in enumerate(chosen):
            row = self.pairwise[host]
            around += 2 * sum([row[other] for other in chosen[:place]])
        price = around + self.shares + sum([self.own[host] for host in chosen])
        if self._beaten(price):
            return True
        if not self.alike:
            if not self._match(chosen):
                return False
            rows = [{host: 2 * row[host] for host in chosen if host in row} for row in self.linear]
            beyond = sum([min([price - self.own[host] for host, price in row.items()]) for row in rows])
            if self._beaten(price - self.shares + beyond):
                return True
            found = complete(rows, due=self.due, rebate=self.own)
            if found is None:
                return False
            price, chosen = around + found.total, found.hosts
        if self.best is None or (price, chosen) < (self.best_price, self.best):
            self.best, self.best_price = chosen, price
        return True
