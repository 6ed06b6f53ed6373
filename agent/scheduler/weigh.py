"""``weight = Σ multiplier × norm(score)`` over the hosts that passed, and their order.

A score is normalised to 0 … 1 over the candidates: its least value (or the weigher's fixed least) becomes 0, its
greatest 1, and a score that is the same everywhere becomes 0.  Equal weights keep the table's row order.  A single
candidate is not weighed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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


class Weights(NamedTuple):
    """What weighing answers over the candidates: each one's weight, and the ``parts`` it is the sum of.

    ``names`` are the weighers that told candidates apart, ``parts`` what each contributed, weigher × candidate.
    """

    total: Column
    names: tuple[str, ...]
    parts: Column


def weigh(
    table: HostTable,
    wanted: Wanted,
    *,
    rows: NDArray[np.intp],
    weighers: Sequence[Weigher],
    settings: SchedulingSettings,
) -> Weights:
    """The weight of each candidate row, and what each weigher contributed to it."""
    scored, scores, factors, leasts = [], [], [], []
    for weigher in weighers if len(rows) > 1 else ():
        multiplier = table.aggregates.least(weigher.multiplier, settings.multiplier(weigher.multiplier))
        if isinstance(multiplier, np.ndarray):
            multiplier = multiplier[rows]
        elif multiplier == 0:
            continue
        score = weigher.scores(table, wanted, settings, rows=rows)
        if score is None:
            continue
        scored.append(weigher.name)
        scores.append(score)
        factors.append(weigher.sign * multiplier)
        leasts.append(weigher.least)
    if not scored:
        return Weights(np.zeros(len(rows)), (), np.zeros((0, len(rows))))
    parts = np.concatenate(scores, dtype=np.float64).reshape(len(scored), len(rows))
    low = np.minimum.reduce(parts, axis=1)
    for number, least in enumerate(leasts):
        if least is not None:
            np.maximum(parts[number], least, out=parts[number])
            low[number] = least
    span = np.maximum.reduce(parts, axis=1) - low
    unlike = np.flatnonzero(span)
    parts = parts[unlike]
    parts -= low[unlike, np.newaxis]
    parts /= span[unlike, np.newaxis]
    for part, number in zip(parts, unlike.tolist(), strict=True):
        part *= factors[number]
    return Weights(np.add.reduce(parts), tuple([scored[number] for number in unlike.tolist()]), parts)


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
