"""Filters: which hosts may have a guest at all.  One idea a module; each says its direction in its first line.

A filter is a Filter: a name as in Nova without the word "Filter", a function ``(table, wanted, settings) → mask`` over
the table's rows (True passes) or None (every host passes: the request asks nothing of this filter), and whether it
also holds when a guest is rebuilt in place.  ``each`` makes, of table and wish, a function that is asked host by host.
A filter that refuses hosts for want of room has a ``size``: those with most left came nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agent.scheduler.aggregates import Column, Mask
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


class Size(NamedTuple):
    """A quantity in its ``unit``: how much of it a request wants of a host, and how much each host has left."""

    unit: str
    wanted: Callable[[Wanted], int]
    left: Callable[[HostTable], Column]


class Filter(NamedTuple):
    """A named rule over all hosts; ``wants`` says in words and numbers what the request asks, for the trace."""

    name: str
    mask: Callable[[HostTable, Wanted, SchedulingSettings], Mask | None]
    wants: Callable[[Wanted, SchedulingSettings], str]
    on_rebuild: bool = False
    each: Callable[[HostTable, Wanted], Callable[[int], bool]] | None = None
    size: Size | None = None

    def passing(self, table: HostTable, wanted: Wanted, settings: SchedulingSettings, *, among: Mask) -> Mask | None:
        """The mask; a rule that looks at one host at a time is asked of the hosts ``among`` only."""
        if self.each is None:
            return self.mask(table, wanted, settings)
        passes, ask = np.zeros(table.size, dtype=np.bool_), self.each(table, wanted)
        passes[[row for row in np.flatnonzero(among).tolist() if ask(row)]] = True
        return passes
