"""Select a host: filters, then weighers, then the exact fit on the best host, the next, and so on until one says yes.

Forced hosts skip the filters, as in Nova, but not the exact fit: a placement that the host cannot hold helps nobody.
A host that is named for a move is filtered like any other.
Rebuilding in place runs only the filters that still matter then.  Where no host is found, those that came nearest say
why not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from zlib import crc32

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from agent.core.decision import Decision, Removed, Trace, Weighed
from agent.core.misfit import Code
from agent.core.placement import Misfit, Nearest, Placement, Reason
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter, Size
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weigh import Weights, best_first, weigh
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

Fit = Callable[[int, Wanted], Placement | Misfit]
"""Asks one host, by its row, for the exact placement."""

Change = Callable[[str, Wanted], Nearest | None]
"""Asks one host, by its name, for the smallest change after which the guest would fit."""

SHOWN = 10
NEAREST = 3
"""So many hosts say why not where a filter left none to be tried."""

NAMED = "NamedHost"
"""What removes the others when a request names its host, in the trace."""


def candidates(
    table: HostTable,
    wanted: Wanted,
    *,
    filters: Sequence[Filter],
    settings: SchedulingSettings,
) -> tuple[NDArray[np.intp], Trace]:
    """The rows that pass every filter, ascending, and what each filter removed; the weights are not in it yet."""
    passes = table.alive.copy()
    hosts = left = int(np.count_nonzero(passes))
    if wanted.request.ignore_hosts:
        passes[[table.row_of[name] for name in wanted.request.ignore_hosts if name in table.row_of]] = False
        left = int(np.count_nonzero(passes))
    ignored = hosts - left
    steps = []
    named = wanted.request.force_host or wanted.only
    if named:
        passes &= _alone(table, named)
        before, left = left, int(np.count_nonzero(passes))
        known = "" if named in table.row_of else ", which is not known"
        if left < before:
            steps.append(Removed(NAMED, before, before - left, f"host {named}{known}"))
    for rule in filters if not wanted.request.force_host else ():
        if left == 0:
            break
        if wanted.rebuild and not rule.on_rebuild:
            continue
        mask = rule.passing(table, wanted, settings, among=passes)
        if mask is None:
            continue
        passes &= mask
        before, left = left, int(np.count_nonzero(passes))
        if left < before:
            steps.append(Removed(rule.name, before, before - left, rule.wants(wanted, settings)))
    return np.flatnonzero(passes), Trace(hosts=hosts, ignored=ignored, removed=tuple(steps))


def select(
    table: HostTable,
    wanted: Wanted,
    *,
    filters: Sequence[Filter],
    weighers: Sequence[Weigher],
    settings: SchedulingSettings,
    fit: Fit,
    change: Change = lambda host, wanted: None,
) -> Decision:
    """The best host that really fits, the names of up to ``settings.alternates`` next best ones, and the trace.

    ``change`` is asked of the nearest host where none fits.
    """
    rows, trace = candidates(table, wanted, filters=filters, settings=settings)
    weights = weigh(table, wanted, rows=rows, weighers=weighers, settings=settings)
    found: Placement | None = None
    alternates: list[str] = []
    misfits: list[Misfit] = []
    shown: list[int] = []
    refused = 0
    for tried, position in enumerate(_apart(best_first(weights.total), wanted)):
        if len(shown) < SHOWN:
            shown.append(position)
        if found is not None:
            if len(alternates) < settings.alternates:
                alternates.append(table.at(int(rows[position])).name)
            elif len(shown) >= SHOWN:
                break
            continue
        if tried >= settings.tries:
            break
        answer = fit(int(rows[position]), wanted)
        if isinstance(answer, Placement):
            found = answer
        else:
            refused += 1
            if len(misfits) < SHOWN:
                misfits.append(answer)
    if found is None:
        misfits = misfits or _nearest(table, wanted, trace, filters=filters, settings=settings, fit=fit)
        if misfits:
            misfits[0] = replace(misfits[0], nearest=change(misfits[0].host, wanted))
    return Decision(
        placement=found,
        alternates=tuple(alternates),
        trace=Trace(
            hosts=trace.hosts,
            ignored=trace.ignored,
            removed=trace.removed,
            best=_weighed([table.at(int(rows[position])).name for position in shown], shown, weights),
            misfits=tuple(misfits),
            misfits_count=refused,
        ),
    )


def _apart(positions: Iterator[int], wanted: Wanted) -> Iterator[int]:
    """The same positions, but after a lost race another of the best ones first.

    Schedulers that see the same hosts have the same order, and would meet again at the next.  So each instance goes to
    an alternate of its own, among twice as many after each race.
    """
    if wanted.races:
        best = list(islice(positions, 1 << wanted.races))
        turn = crc32(f"{wanted.instance} {wanted.races}".encode()) % max(len(best), 1)
        yield from best[turn:] + best[:turn]
    yield from positions


def _nearest(
    table: HostTable,
    wanted: Wanted,
    trace: Trace,
    *,
    filters: Sequence[Filter],
    settings: SchedulingSettings,
    fit: Fit,
) -> list[Misfit]:
    """Why not, of the hosts with most left that came to the last filter: the exact fit's word, or else what is left.

    Nothing where that filter is none for want of room: what it wants is in the trace.
    """
    last = trace.removed[-1].filter if trace.removed else ""
    number = next((number for number, rule in enumerate(filters) if rule.name == last), None)
    size = None if number is None else filters[number].size
    if size is None:
        return []
    rows, _ = candidates(table, wanted, filters=filters[:number], settings=settings)
    left = size.left(table)
    answers = ((row, fit(row, wanted)) for row in rows[list(islice(best_first(left[rows]), NEAREST))].tolist())
    return [
        answer if isinstance(answer, Misfit) else _too_little(answer, size, wanted, max(int(left[row]), 0))
        for row, answer in answers
    ]


def _too_little(answer: Placement, size: Size, wanted: Wanted, left: int) -> Misfit:
    """What is said of a host whose cells would take the guest, but which has too little as a whole."""
    needed = size.wanted(wanted)
    message = f"the host has {left} {size.unit} left of the {needed} wanted"
    reason = Reason(code=Code.TOO_LITTLE_LEFT, message=message, wanted=needed, available=left)
    return Misfit(host=answer.host, name=answer.name, misfits=(reason,))


def _alone(table: HostTable, name: str) -> Mask:
    """One host, if it is known."""
    alone = np.zeros(table.size, dtype=np.bool_)
    alone[[table.row_of[name]] if name in table.row_of else []] = True
    return alone


def _weighed(names: list[str], positions: list[int], weights: Weights) -> tuple[Weighed, ...]:
    """The hosts at these positions, each with what every weigher gave it."""
    shares = [
        {name: share for name, share in zip(weights.names, row, strict=True) if share}
        for row in weights.parts[:, positions].T.tolist()
    ]
    return tuple(map(Weighed, names, weights.total[positions].tolist(), shares))
