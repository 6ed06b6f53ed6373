"""All filters and weighers by name: ours, and third parties' through entry points.

``cellwright.filters`` and ``cellwright.weighers`` entry points name either a Filter or Weigher of ours (columns in,
mask or score out), or a class as Nova's plugins are: ``host_passes(host_state, spec)`` for a filter, ``_weigh_object(
host_state, spec)`` and optionally ``minval`` for a weigher.  A plain class is asked of the hosts that still pass, one
at a time, a filter after all that know every host at once; agent.scheduler.view has what it may ask of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from typing import Any, TypeVar

from agent.core.errors import BadInput, CellwrightError
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
    """The configured filters in their order, those last that are asked host by host.

    Nova's spelling with ``Filter`` at the end is accepted.
    """
    chosen = (_named(name, known, "filter", "Filter") for name in settings.filters)
    return tuple(sorted(chosen, key=lambda rule: rule.each is not None))


def chosen_weighers(settings: SchedulingSettings, known: dict[str, Weigher]) -> tuple[Weigher, ...]:
    """The configured weighers, or all of them; Nova's spelling with ``Weigher`` at the end is accepted.

    BadInput for a multiplier that no weigher has, and for weights that are no finite numbers.
    """
    multipliers = {weigher.multiplier for weigher in known.values()}
    for key in settings.multipliers:
        if key not in multipliers:
            allowed = ", ".join(sorted(multipliers))
            raise BadInput(f"[scheduling.multipliers]: unknown key {key!r}; allowed: {allowed}")
    own = {"metrics_weight_of_unavailable": settings.metrics_weight_of_unavailable}
    tables = {"": own, ".multipliers": settings.multipliers, ".metrics_weights": settings.metrics_weights}
    for table, weights in tables.items():
        for key, weight in weights.items():
            if not isfinite(weight):
                raise BadInput(f"[scheduling{table}] {key} = {weight}; allowed: finite numbers")
    if settings.weighers is None:
        return tuple(known.values())
    return tuple(_named(name, known, "weigher", "Weigher") for name in settings.weighers)


def plain_filter(name: str, rule: Any) -> Filter:
    """A Filter out of an object with ``host_passes(host_state, spec)``."""

    def each(table: HostTable, wanted: Wanted) -> Callable[[int], bool]:
        spec = SpecView(wanted)
        return lambda row: _ask(name, rule.host_passes, HostView(table, row), spec, bool)

    on_rebuild = bool(getattr(rule, "RUN_ON_REBUILD", False))
    return Filter(name, lambda t, w, s: None, lambda w, s: f"what {name} asks", on_rebuild, each)


def plain_weigher(name: str, rule: Any) -> Weigher:
    """A Weigher out of an object with ``_weigh_object(host_state, spec)``; its multiplier is NAME_weight_multiplier."""

    def each(table: HostTable, wanted: Wanted) -> Callable[[int], float]:
        spec = SpecView(wanted)
        return lambda row: _ask(name, rule._weigh_object, HostView(table, row), spec, float)

    least = getattr(rule, "minval", None)
    return Weigher(name, f"{name.lower()}_weight_multiplier", lambda t, w, s: None, least, each=each)


def _ask(name: str, rule: Callable[[HostView, SpecView], Any], host: HostView, spec: SpecView, kind: type[T]) -> T:
    """What a third party's rule says of a host; CellwrightError when it fails."""
    try:
        return kind(rule(host, spec))  # type: ignore[call-arg]  # bool and float take anything
    except Exception as why:  # a third party's rule may raise anything
        raise CellwrightError(f"{name} failed on host {host.host}: {type(why).__name__}: {why}") from why


def _entries(group: str, extra: Iterable[EntryPoint] | None) -> list[EntryPoint]:
    return sorted(entry_points(group=group) if extra is None else extra, key=lambda entry: entry.name)


def _load(entry: EntryPoint, ours: type, method: str) -> Any:
    """What an entry point names, a class made an object; BadInput when that fails, or it is neither of the two."""
    said = f"entry point {entry.group}: {entry.name} = {entry.value}"
    try:
        plugin = entry.load()
        if isinstance(plugin, type) and callable(getattr(plugin, method, None)):
            return plugin()
    except Exception as why:  # a third party's module may raise anything
        raise BadInput(f"{said} cannot be loaded: {type(why).__name__}: {why}") from why
    if not isinstance(plugin, ours):
        raise BadInput(f"{said} is {plugin!r}; allowed: a {ours.__name__} or a class with {method}(host_state, spec)")
    return plugin


def _named(name: str, known: dict[str, T], what: str, suffix: str) -> T:
    for spelling in (name, name.removesuffix(suffix)):
        if spelling in known:
            return known[spelling]
    raise BadInput(f"[scheduling] {what}s: {name!r} is no {what}; allowed: {', '.join(sorted(known))}")
