"""``weight = Σ multiplier × norm(score)`` over the hosts that passed, and their order.

A score is normalised to 0 … 1 over the candidates: its least value (or the weigher's fixed least) becomes 0, its
greatest 1, and a score that is the same everywhere becomes 0.  Equal weights keep the table's row order.  A single
candidate is not weighed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.scheduler.aggregates import Column
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

CHUNKS = 64
FIRST = 16
"""At least so many positions are found without sorting all."""


def normalise(score: Column, least: float | None) -> Column | None:
    """A score on 0 … 1; None when it is the same everywhere."""
    if least is not None:
        score = np.maximum(score, least)
    low = float(np.minimum.reduce(score)) if least is None else least
    span = float(np.maximum.reduce(score)) - low
    return None if span == 0 else np.asarray((score - low) / span, dtype=np.float64)


def weigh(
    table: HostTable,
    wanted: Wanted,
    *,
    rows: NDArray[np.intp],
    weighers: Sequence[Weigher],
    settings: SchedulingSettings,
) -> tuple[Column, dict[str, Column]]:
    """The weight of each candidate row, and what each weigher contributed to it."""
    total = np.zeros(len(rows))
    parts: dict[str, Column] = {}
    if len(rows) < 2:
        return total, parts
    for weigher in weighers:
        multiplier = table.aggregates.least(weigher.multiplier, settings.multiplier(weigher.multiplier))
        if not isinstance(multiplier, np.ndarray) and multiplier == 0:
            continue
        score = weigher.scores(table, wanted, settings, rows=rows)
        norm = None if score is None else normalise(score, weigher.least)
        if norm is None:
            continue
        factor = multiplier[rows] if isinstance(multiplier, np.ndarray) else multiplier
        part = np.asarray(weigher.sign * factor * norm, dtype=np.float64)
        parts[weigher.name] = part
        total += part
    return total, parts


def best_first(weights: Column) -> Iterator[int]:
    """Positions by falling weight, ties in their order; the first few are found by the greatest of each chunk."""
    count = len(weights)
    shown = 0
    if count > 4 * CHUNKS:
        greatest = np.maximum.reduceat(weights, np.arange(0, count, -(-count // CHUNKS)))
        bar = np.sort(greatest)[-FIRST]
        above = np.flatnonzero(weights >= bar)
        for position in above[np.argsort(-weights[above], kind="stable")].tolist():
            shown += 1
            yield position
    yield from np.argsort(-weights, kind="stable")[shown:].tolist()
