"""Scheduler hints: which there are, and which filter reads each.  A hint that nothing reads is refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent.core.errors import BadRequest
from agent.scheduler.filters.json_query import parse_query

READ_BY = {"different_host": "DifferentHost", "group": None, "query": "Json", "same_host": "SameHost"}
"""Each hint and the filter that reads it; a group counts its members whatever filters there are."""


def check_hints(hints: Mapping[str, object], *, in_force: Collection[str], only_ours: bool) -> None:
    """BadRequest for a query that is none, and for hints that none of the filters ``in_force`` reads.

    Unless they are ``only_ours``: a third party's may read any hint.  Nova passes unknown hints in silence, and with
    them every misspelling of a wish.
    """
    parse_query(hints.get("query"))
    for key, value in sorted(hints.items()) if only_ours else ():
        if key not in READ_BY:
            raise BadRequest(key, value, "is no scheduler hint", allowed=", ".join(READ_BY))
        rule = READ_BY[key]
        if rule is not None and rule not in in_force and value not in (None, "", []):
            raise BadRequest(key, value, f"the filter {rule}, which would read it, is not in force")
