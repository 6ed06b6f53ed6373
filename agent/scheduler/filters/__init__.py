"""Filters: which hosts may have a guest at all.  One idea a module; each says its direction in its first line.

A filter is a Filter: a name as in Nova without the word "Filter", a function ``(table, wanted, settings) → mask`` over
the table's rows (True passes) or None (every host passes: the request asks nothing of this filter), and whether it
also holds when a guest is rebuilt in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from agent.scheduler.aggregates import Mask
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


class Filter(NamedTuple):
    """A named rule over all hosts; ``wants`` says in words and numbers what the request asks, for the trace."""

    name: str
    mask: Callable[[HostTable, Wanted, SchedulingSettings], Mask | None]
    wants: Callable[[Wanted, SchedulingSettings], str]
    on_rebuild: bool = False
