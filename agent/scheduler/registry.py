"""All filters and weighers by name: ours, and third parties' through entry points.

``cellwright.filters`` and ``cellwright.weighers`` entry points name either a Filter or Weigher of ours (columns in,
mask or score out), or a class as Nova's plugins are: ``host_passes(host_state, spec)`` for a filter, ``_weigh_object(
host_state, spec)`` and optionally ``minval`` for a weigher.  A plain class is called once a host; agent.scheduler.view
has what it may ask of the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import numpy as np

from agent.core.errors import BadInput
from agent.scheduler.aggregates import Column, Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.view import HostView, SpecView
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

T = TypeVar("T")

FILTER_MODULES = (
    "service",
    "zones",
    "software",
    "metadata",
    "neighbours",
    "isolated",
    "sizes",
    "counts",
    "measured",
    "json_query",
    "devices",
    "cells",
)
WEIGHER_MODULES = ("room", "condition", "company", "cells")


def all_filters(extra: Iterable[EntryPoint] | None = None) -> dict[str, Filter]:
    """Name → filter; a third party's replaces ours of the same name."""
    found: dict[str, Filter] = {}
    for module in FILTER_MODULES:
        found |= {rule.name: rule for rule in import_module(f"agent.scheduler.filters.{module}").FILTERS}
    for entry in _entries("cellwright.filters", extra):
        plugin = _load(entry, Filter, "host_passes")
        found[entry.name] = plugin if isinstance(plugin, Filter) else plain_filter(entry.name, plugin)
    return found


def all_weighers(extra: Iterable[EntryPoint] | None = None) -> dict[str, Weigher]:
    """Name → weigher; a third party's replaces ours of the same name."""
    found: dict[str, Weigher] = {}
    for module in WEIGHER_MODULES:
        found |= {rule.name: rule for rule in import_module(f"agent.scheduler.weighers.{module}").WEIGHERS}
    for entry in _entries("cellwright.weighers", extra):
        plugin = _load(entry, Weigher, "_weigh_object")
        found[entry.name] = plugin if isinstance(plugin, Weigher) else plain_weigher(entry.name, plugin)
    return found


def chosen_filters(settings: SchedulingSettings, known: dict[str, Filter]) -> tuple[Filter, ...]:
    """The configured filters, in their order; Nova's spelling with ``Filter`` at the end is accepted."""
    return tuple(_named(name, known, "filter", "Filter") for name in settings.filters)


def chosen_weighers(settings: SchedulingSettings, known: dict[str, Weigher]) -> tuple[Weigher, ...]:
    """The configured weighers, or all of them; Nova's spelling with ``Weigher`` at the end is accepted."""
    if settings.weighers is None:
        return tuple(known.values())
    return tuple(_named(name, known, "weigher", "Weigher") for name in settings.weighers)


def plain_filter(name: str, plugin: Any) -> Filter:
    """A Filter out of a class with ``host_passes(host_state, spec)``."""
    rule = plugin()

    def mask(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
        passes, spec = np.zeros(table.size, dtype=np.bool_), SpecView(wanted)
        for row in np.flatnonzero(table.alive).tolist():
            passes[row] = bool(rule.host_passes(HostView(table, row), spec))
        return passes

    on_rebuild = bool(getattr(plugin, "RUN_ON_REBUILD", False))
    return Filter(name, mask, lambda w, s: f"what {name} asks", on_rebuild)


def plain_weigher(name: str, plugin: Any) -> Weigher:
    """A Weigher out of a class with ``_weigh_object(host_state, spec)``; its multiplier is NAME_weight_multiplier."""
    rule = plugin()

    def score(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column:
        scores, spec = np.zeros(table.size), SpecView(wanted)
        for row in np.flatnonzero(table.alive).tolist():
            scores[row] = rule._weigh_object(HostView(table, row), spec)
        return scores

    return Weigher(name, f"{name.lower()}_weight_multiplier", score, getattr(plugin, "minval", None))


def _entries(group: str, extra: Iterable[EntryPoint] | None) -> list[EntryPoint]:
    return sorted(entry_points(group=group) if extra is None else extra, key=lambda entry: entry.name)


def _load(entry: EntryPoint, ours: type, method: str) -> Any:
    """What an entry point names; BadInput when it cannot be loaded, or is neither ours nor a class with the method."""
    said = f"entry point {entry.group}: {entry.name} = {entry.value}"
    try:
        plugin = entry.load()
    except Exception as why:  # a third party's module may raise anything
        raise BadInput(f"{said} cannot be loaded: {type(why).__name__}: {why}") from why
    if not isinstance(plugin, ours) and not (isinstance(plugin, type) and callable(getattr(plugin, method, None))):
        raise BadInput(f"{said} is {plugin!r}; allowed: a {ours.__name__} or a class with {method}(host_state, spec)")
    return plugin


def _named(name: str, known: dict[str, T], what: str, suffix: str) -> T:
    for spelling in (name, name.removesuffix(suffix)):
        if spelling in known:
            return known[spelling]
    raise BadInput(f"{name!r} is no {what}; allowed: {', '.join(sorted(known))}")
