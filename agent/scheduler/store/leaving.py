"""Claims that outlive a move: what an instance still holds on a host that has not said yet that it is gone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from agent.core import codec
from agent.core.placement import Placement
from agent.scheduler.store.instances import release, touch
from agent.scheduler.store.prepared import Prepared, Session
from agent.scheduler.store.records import Leaving, Overtaken
from agent.scheduler.store.schema import leaving


def keep_claim(connection: Session, left: Leaving) -> int:
    """Keep what an instance holds on the host that it leaves; the answer is the host's new generation."""
    generation = touch(connection, left.host)
    values = {name: getattr(left, name) for name in left.__struct_fields__}
    _INSERT.run(connection, {**values, "placement": codec.encode(left.placement)})
    return generation


def end_claim(connection: Connection, left: Leaving) -> int:
    """Give back what was kept; the answer is the host's new generation.  Overtaken when another did so first."""
    mine = (leaving.c.instance == left.instance) & (leaving.c.host == left.host)
    if not connection.execute(delete(leaving).where(mine)).rowcount:
        raise Overtaken
    return release(connection, left.instance, left.placement)


def load_leaving(connection: Session, *, host: str | None = None, instance: str | None = None) -> list[Leaving]:
    """All claims that are kept, or those on one host, or of one instance; by instance and host."""
    if host is not None:
        found = _ON_HOST.run(connection, {"b_host": host})
    elif instance is not None:
        found = _OF_INSTANCE.run(connection, {"b_instance": instance})
    else:
        found = _ALL.run(connection, {})
    return [_record(dict(zip(_NAMES, row, strict=True))) for row in found.rows]


_NAMES = [column.name for column in leaving.c]
_ORDERED = select(leaving).order_by(leaving.c.instance, leaving.c.host)
_ALL = Prepared(_ORDERED)
_ON_HOST = Prepared(_ORDERED.where(leaving.c.host == bindparam("b_host")))
_OF_INSTANCE = Prepared(_ORDERED.where(leaving.c.instance == bindparam("b_instance")))
_INSERT = Prepared(insert(leaving), _NAMES)


def _record(row: dict[str, Any]) -> Leaving:
    source = f"database: what instance {row['instance']} leaves on {row['host']}"
    placement = codec.decode(row["placement"], Placement, source=source)
    return Leaving(**{**row, "placement": placement})
