"""Claims that outlive a move: what an instance still holds on a host that has not said yet that it is gone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

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


def load_leaving(connection: Connection, *, host: str | None = None, instance: str | None = None) -> list[Leaving]:
    """All claims that are kept, or those on one host, or of one instance; by instance and host."""
    query = select(leaving).order_by(leaving.c.instance, leaving.c.host)
    if host is not None:
        query = query.where(leaving.c.host == host)
    if instance is not None:
        query = query.where(leaving.c.instance == instance)
    return [_record(row) for row in connection.execute(query)]


_INSERT = Prepared(insert(leaving), [column.name for column in leaving.c])


def _record(row: Row[Any]) -> Leaving:
    source = f"database: what instance {row.instance} leaves on {row.host}"
    return Leaving(
        instance=row.instance,
        host=row.host,
        vcpus=row.vcpus,
        ram_mb=row.ram_mb,
        disk_gb=row.disk_gb,
        placement=codec.decode(row.placement, Placement, source=source),
        since_s=row.since_s,
    )
