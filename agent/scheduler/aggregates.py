"""Host aggregates: named sets of hosts with metadata, and what metadata means for a column of hosts."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Column = NDArray[np.float64]

ZONE = "availability_zone"
"""The metadata key that makes an aggregate a zone."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate; ``rows`` are its hosts' rows in the host table.

    Metadata values are text; commas separate alternatives.
    """

    id: int
    name: str
    metadata: dict[str, str] = {}
    hosts: frozenset[str] = frozenset()

    def values(self, key: str) -> tuple[str, ...]:
        """The alternatives a metadata key lists, blanks stripped; empty when the key is not there."""
        text = self.metadata.get(key)
        return () if text is None else tuple(word.strip() for word in text.split(","))


class Membership(msgspec.Struct, frozen=True, dict=True):
    """The aggregates of a host table with their rows, ready for column arithmetic over ``size`` rows."""

    size: int
    rows: tuple[tuple[Aggregate, NDArray[np.intp]], ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every metadata key that some aggregate has."""
        return frozenset(key for aggregate, _ in self.rows for key in aggregate.metadata)

    @cached_property
    def zones(self) -> dict[int, str]:
        """The zones of each row that is in any, commas between."""
        found: dict[int, set[str]] = {}
        for aggregate, rows in self.having(ZONE):
            for row in rows.tolist():
                found.setdefault(row, set()).update(aggregate.values(ZONE))
        return {row: ",".join(sorted(zones)) for row, zones in found.items()}

    def having(self, key: str) -> list[tuple[Aggregate, NDArray[np.intp]]]:
        """The aggregates that have a metadata key."""
        if key not in self.keys:
            return []
        return [(aggregate, rows) for aggregate, rows in self.rows if key in aggregate.metadata]

    def mask(self, aggregates: list[tuple[Aggregate, NDArray[np.intp]]]) -> Mask:
        """The hosts that are in any of these aggregates."""
        found = np.zeros(self.size, dtype=np.bool_)
        for _, rows in aggregates:
            found[rows] = True
        return found

    def least(self, key: str, default: Column | float, *, whole: bool = False) -> Column | float:
        """Each host's least value of a numeric key over its aggregates, ``default`` where none has it.

        As in Nova, a host that has one value that is no number falls back to its default.  ``whole`` reads integers.
        Without any aggregate that has the key the answer is ``default`` itself, unexpanded.
        """
        having = self.having(key)
        if not having:
            return default
        low = np.full(self.size, np.inf)
        bad = np.zeros(self.size, dtype=np.bool_)
        for aggregate, rows in having:
            try:
                text = aggregate.metadata[key]
                low[rows] = np.minimum(low[rows], float(int(text) if whole else float(text)))
            except (ValueError, OverflowError):
                bad[rows] = True
        return np.where(~np.isfinite(low) | bad, default, low)
