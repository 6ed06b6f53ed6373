"""Can every guest cell have a host cell of its own?  Bipartite matching by augmenting paths, on bit masks.

Never permutations: 16 host cells × 8 guest cells take microseconds whether or not there is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence


def find_violators(fits: Sequence[int]) -> tuple[int, ...]:
    """Guest cells that compete for too few host cells (Hall's violator), or () when all can be matched.

    ``fits[g]`` is the mask of host cell indices where guest cell g fits.  König, Hall: the guest cells that an
    augmenting path can reach from an unmatched one have one host cell less than there are of them.  Where all fit on
    the same host cells, counting these is enough.
    """
    if len(set(fits)) == 1:
        places = fits[0].bit_count()
        return () if places >= len(fits) else tuple(range(places + 1))
    owner: dict[int, int] = {}
    for guest in range(len(fits)):
        reached = {guest}
        if not _augment(guest, fits, owner, [0], reached):
            return tuple(sorted(reached))
    return ()


def _augment(guest: int, fits: Sequence[int], owner: dict[int, int], seen: list[int], reached: set[int]) -> bool:
    """Give ``guest`` a host cell, moving others if need be; ``seen[0]`` masks host cells tried."""
    while open_cells := fits[guest] & ~seen[0]:
        low = open_cells & -open_cells
        seen[0] |= low
        holder = owner.get(low)
        if holder is not None:
            reached.add(holder)
        if holder is None or _augment(holder, fits, owner, seen, reached):
            owner[low] = guest
            return True
    return False
