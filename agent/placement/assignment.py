"""The cheapest way to give every guest cell a host cell of its own, exactly.

The price of an answer is a sum over guest cells plus a sum over pairs of chosen host cells (see ``choice``): a small
quadratic assignment.  Depth-first over the guest cells, cutting every branch whose lower bound is no better than the
best answer so far; guest cells of one shape are interchangeable and take host cells in ascending order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Linear = Sequence[dict[int, int]]
"""For each guest cell: host cell index → price."""

Pairwise = Sequence[Sequence[int]]
"""Price of using two host cells together, by index."""

Late = Callable[[tuple[int, ...]], int | None]
"""The price of a whole answer that is no sum, or None where it is not allowed."""


def assign(
    linear: Linear, pairwise: Pairwise, twins: Sequence[bool], *, late: Late | None = None
) -> tuple[int, ...] | None:
    """The host cell of each guest cell; None when there is no answer.

    ``twins[g]``: guest cell g has the shape of guest cell g - 1.
    """
    if len(linear) == 1 and late is None:
        return (min(linear[0], key=linear[0].__getitem__),) if linear[0] else None
    search = _Search(linear, pairwise, twins, late)
    search.descend((), 0)
    return search.best


class _Search:
    """One search; its only state is the best answer so far."""

    def __init__(self, linear: Linear, pairwise: Pairwise, twins: Sequence[bool], late: Late | None) -> None:
        self.linear, self.pairwise, self.twins, self.late = linear, pairwise, twins, late
        self.best: tuple[int, ...] | None = None
        self.best_price = 0

    def descend(self, chosen: tuple[int, ...], price: int) -> None:
        """Try every host cell for the next guest cell, cheapest first."""
        guest = len(chosen)
        if guest == len(self.linear):
            self._keep(chosen, price)
            return
        after = chosen[-1] if guest and self.twins[guest] else -1
        options = []
        for host, own in self.linear[guest].items():
            if host > after and host not in chosen:
                row = self.pairwise[host]
                options.append((own + sum([row[other] for other in chosen]), host))
        left = len(self.linear) - guest
        if left == 1 and self.late is None:
            if options:
                step, host = min(options)
                self._keep((*chosen, host), price + step)
            return
        options.sort()
        bounded = left > 2  # for the last two, trying is quicker than bounding
        least: int | None = None
        for step, host in options:
            taken = (*chosen, host)
            if bounded and self.best is not None:
                if least is None:
                    least = price + self._bound(chosen)
                if least >= self.best_price:
                    return
                if price + step + self._bound(taken) >= self.best_price:
                    continue
            self.descend(taken, price + step)

    def _keep(self, chosen: tuple[int, ...], price: int) -> None:
        if self.late is not None:
            extra = self.late(chosen)
            if extra is None:
                return
            price += extra
        if self.best is None or (price, chosen) < (self.best_price, self.best):
            self.best, self.best_price = chosen, price

    def _bound(self, chosen: tuple[int, ...]) -> int:
        """No completion of ``chosen`` costs less than this: each remaining guest cell at its cheapest, pairs halved."""
        remaining = range(len(chosen), len(self.linear))
        count = len(remaining)
        if not count:
            return 0
        open_cells = sorted({host for guest in remaining for host in self.linear[guest]} - set(chosen))
        if len(open_cells) < count:
            return 1 << 512
        doubled = []
        for host in open_cells:
            row = self.pairwise[host]
            own = min(self.linear[guest][host] for guest in remaining if host in self.linear[guest])
            mutual = sorted(row[other] for other in open_cells if other != host)[: count - 1]
            doubled.append(2 * (own + sum(row[other] for other in chosen)) + sum(mutual))
        doubled.sort()
        return (sum(doubled[:count]) + 1) // 2
