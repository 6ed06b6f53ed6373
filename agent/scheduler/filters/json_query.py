"""Json: the hint ``query`` is a small program over a host's values: ``["and", [">=", "$free_ram_mb", 1024], …]``.

Operators: ``=  <  >  <=  >=  in  not  or  and``; ``$name`` and ``$name.key`` are values of the host under Nova's names.
A malformed query is refused by name, before any host is asked.  Source: OpenStack compute "Filter scheduler",
JsonFilter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from agent.core.errors import BadRequest
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.view import NAMES, HostView
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
OPERATORS = (*COMPARISONS, "in", "not", "or", "and")
ALLOWED = f"a list that starts with one of {' '.join(OPERATORS)}"
DEEPEST = 32
SHOWN = 200


def parse_query(hint: Any) -> list[Any]:
    """The query that a hint holds, as JSON text or as a list; empty where it holds none, BadRequest where it is wrong.

    >>> parse_query('["=", "$host", "kvm-1"]')
    ['=', '$host', 'kvm-1']
    """
    if isinstance(hint, list) and len(hint) == 1:
        hint = hint[0]  # a hint that was given once
    if hint is None or hint == "":
        return []
    query = hint
    if isinstance(hint, str):
        try:
            query = msgspec.json.decode(hint)
        except (msgspec.DecodeError, RecursionError) as why:
            raise BadRequest("query", hint, f"no JSON list: {why}", allowed=ALLOWED) from why
    if not isinstance(query, list):
        raise BadRequest("query", hint, "no JSON list", allowed=ALLOWED)
    _check(query, 1)
    return query


def _check(query: list[Any], depth: int) -> None:
    if depth > DEEPEST:
        raise BadRequest("query", query, "too deep", allowed=f"lists in lists, {DEEPEST} at most")
    if query and (not isinstance(query[0], str) or query[0] not in OPERATORS):
        raise BadRequest("query", query[0], "no operator of a host query", allowed=ALLOWED)
    for item in query[1:]:
        if isinstance(item, list):
            _check(item, depth + 1)


def _compare(name: str, values: list[Any]) -> bool:
    if len(values) < 2:
        return False
    try:
        return all(COMPARISONS[name](values[0], other) for other in values[1:])
    except TypeError:
        return False


def evaluate(query: list[Any], view: HostView) -> Any:
    """What a query says of one host."""
    if not query:
        return True
    name = query[0]
    values = []
    for item in query[1:]:
        value = evaluate(item, view) if isinstance(item, list) else _value(item, view)
        if value is not None:
            values.append(value)
    if name in COMPARISONS:
        return _compare(name, values)
    if name == "in":
        return len(values) > 1 and values[0] in values[1:]
    if name == "not":
        return [not value for value in values]
    return any(values) if name == "or" else all(values)


def _value(item: Any, view: HostView) -> Any:
    if not isinstance(item, str):
        return item
    if not item.startswith("$"):
        return item or None
    head, *rest = item[1:].split(".")
    value = getattr(view, head) if head in NAMES else None
    for key in rest:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _query(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    query = parse_query(wanted.request.hints.get("query"))
    if not query:
        return None
    passes = np.zeros(table.size, dtype=np.bool_)
    for row in np.flatnonzero(table.alive).tolist():
        answer = evaluate(query, HostView(table, row))
        passes[row] = any(answer) if isinstance(answer, list) else bool(answer)
    return passes


def _wants_query(wanted: Wanted, settings: SchedulingSettings) -> str:
    return f"hosts that satisfy {wanted.request.hints.get('query', 'nothing')}"[:SHOWN]


FILTERS = (Filter("Json", _query, _wants_query),)
