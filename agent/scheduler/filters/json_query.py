"""Json: the hint ``query`` is a small program over a host's values: ``["and", [">=", "$free_ram_mb", 1024], …]``.

Operators: ``=  <  >  <=  >=  in  not  or  and``; ``$name`` and ``$name.key`` are values of the host under Nova's names.
A malformed query is refused by name.  Source: OpenStack compute "Filter scheduler", JsonFilter.
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
from agent.scheduler.view import HostView
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
ALLOWED = "a list that starts with one of = < > <= >= in not or and"


def _compare(name: str, values: list[Any]) -> bool:
    if len(values) < 2:
        return False
    try:
        return all(COMPARISONS[name](values[0], other) for other in values[1:])
    except TypeError:
        return False


def evaluate(query: list[Any], view: HostView) -> Any:
    """What a query says of one host; BadRequest names what is no operator."""
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
    if name == "or":
        return any(values)
    if name == "and":
        return all(values)
    raise BadRequest("query", name, "no operator of a host query", allowed=ALLOWED)


def _value(item: Any, view: HostView) -> Any:
    if not isinstance(item, str):
        return item
    if not item.startswith("$"):
        return item or None
    head, *rest = item[1:].split(".")
    value = getattr(view, head, None)
    for key in rest:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _query(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    texts = wanted.hint("query") if isinstance(wanted.request.hints.get("query"), str) else ()
    if not texts:
        return None
    try:
        query = msgspec.json.decode(texts[0], type=list[Any])
    except msgspec.DecodeError as why:
        raise BadRequest("query", texts[0], f"no JSON list: {why}", allowed=ALLOWED) from why
    passes = np.zeros(table.size, dtype=np.bool_)
    for row in np.flatnonzero(table.alive).tolist():
        answer = evaluate(query, HostView(table, row))
        passes[row] = any(answer) if isinstance(answer, list) else bool(answer)
    return passes


FILTERS = (Filter("Json", _query, lambda w, s: f"hosts that satisfy {w.request.hints.get('query', 'nothing')}"),)
