"""Weighers: which of the hosts that pass is best.  Higher always wins; ``weight = Σ multiplier × norm(score)``.

A weigher is a Weigher: a name, the key of its multiplier (configured, or in aggregate metadata), a function
``(table, wanted, settings) → score`` over the table's rows (None: all are alike), and the least score that normalising
starts from, if fixed.  ``each`` makes, of table and wish, a function that is asked host by host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.scheduler.aggregates import Column
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


class Weigher(NamedTuple):
    """A named score; ``sign`` is −1 where a configured multiplier is a penalty, as for failed builds."""

    name: str
    multiplier: str
    score: Callable[[HostTable, Wanted, SchedulingSettings], Column | None]
    least: float | None = None
    sign: int = 1
    each: Callable[[HostTable, Wanted], Callable[[int], float]] | None = None

    def scores(
        self, table: HostTable, wanted: Wanted, settings: SchedulingSettings, *, rows: NDArray[np.intp]
    ) -> Column | None:
        """The scores of these rows; one that looks at one host at a time is asked of them only."""
        if self.each is not None:
            return np.array(list(map(self.each(table, wanted), rows.tolist())), dtype=np.float64)
        score = self.score(table, wanted, settings)
        return score if score is None or len(rows) == table.size else score.take(rows)
