"""Hosts in the database."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from agent.core import codec
from agent.core.errors import BadInput
from agent.core.facts import HostFacts
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.scheduler.store.prepared import Prepared, Session
from agent.scheduler.store.records import ClaimLost, HostRecord
from agent.scheduler.store.schema import hosts, instances, pools, topologies


def save_host(connection: Session, host: HostRecord) -> HostRecord:
    """Insert a host or replace what is known of it; its pools of huge pages follow its topology.

    A host that names its model has the topology that is kept for it already.  The answer is the host as it is kept:
    without what changes by the minute, and with its model.  ClaimLost when another scheduler is just inserting it.
    """
    changed = None if host.model else host.topology
    if changed is not None:
        host = _save_model(connection, host, changed)
    values = {
        "model": host.model or None,
        "digest": host.digest,
        "facts": codec.encode(host.facts),
        "foreign_usage": codec.encode(host.foreign),
        "foreign_vcpus": host.foreign_vcpus,
        "foreign_ram_mb": host.foreign_ram_mb,
        "reserved_ram_mb": host.reserved_ram_mb,
        "enabled": host.enabled,
        "disabled_reason": host.disabled_reason,
        "agent": host.agent,
        "last_seen_s": host.last_seen_s,
        "generation": host.generation,
    }
    if not _UPDATE.run(connection, {"b_name": host.name, **values}).rowcount:
        try:
            _INSERT.run(connection, {"name": host.name, **values})
        except IntegrityError as why:
            raise ClaimLost(host.name) from why
    if changed is not None:
        _save_pools(connection, host.name, changed)
    return host


def forget_model(connection: Connection, model: str) -> None:
    """Delete a topology that no host has any more; nothing happens to one that a host has.

    In a transaction of its own, after the host has changed.  On PostgreSQL it waits for everybody who may just be
    giving a host this model: such a transaction has looked the topology up, and holds its lock until it commits.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE topologies")
    unused = (topologies.c.digest == model) & ~exists().where(hosts.c.model == model)
    connection.execute(delete(topologies).where(unused))


def save_heartbeats(connection: Connection, heard: Mapping[str, float]) -> None:
    """Note when hosts were last heard from, host → seconds since the epoch; a later time that is kept stays."""
    if heard:
        connection.execute(_HEARD, [{"b_name": name, "b_at_s": at_s} for name, at_s in sorted(heard.items())])


def load_pulse(connection: Connection) -> list[tuple[str, int, float]]:
    """(name, generation, last heard from) of every host: enough to know which to read again."""
    rows = connection.execute(select(hosts.c.name, hosts.c.generation, hosts.c.last_seen_s))
    return [(row.name, row.generation, row.last_seen_s) for row in rows]


def enable_host(connection: Connection, name: str, *, enabled: bool, reason: str = "") -> None:
    """Let new guests onto a host or keep them off; BadInput when it is not known."""
    done = connection.execute(
        update(hosts)
        .where(hosts.c.name == name)
        .values(enabled=enabled, disabled_reason=reason[:255], generation=hosts.c.generation + 1)
    )
    if not done.rowcount:
        raise BadInput(f"host {name} is not known")


def delete_host(connection: Connection, name: str) -> None:
    """Forget a host; BadInput when it is not known or still has instances."""
    connection.execute(select(hosts.c.name).where(hosts.c.name == name).with_for_update())
    held = connection.execute(select(instances.c.id).where(instances.c.host == name)).scalars().all()
    if held:
        raise BadInput(f"host {name} still has {len(held)} instances, {held[0]} among them; delete or move them first")
    connection.execute(delete(pools).where(pools.c.host == name))
    if not connection.execute(delete(hosts).where(hosts.c.name == name)).rowcount:
        raise BadInput(f"host {name} is not known")


class Kept(NamedTuple):
    """What stays of a host whatever it reports."""

    model: str
    enabled: bool
    disabled_reason: str
    generation: int


def lock_host(connection: Session, name: str) -> Kept | None:
    """What stays of a host, which nobody changes until commit; None when it is not known."""
    rows = _LOCK.run(connection, {"b_name": name}).rows
    if not rows:
        return None
    model, enabled, disabled_reason, generation = rows[0]
    return Kept(model or "", bool(enabled), disabled_reason, generation)


def load_host(connection: Session, name: str, *, known: HostRecord | None = None) -> HostRecord | None:
    """One host, or None.  Its topology is not read again where it still has the model that it is ``known`` to have."""
    rows = _BY_NAME.run(connection, {"b_name": name}).rows
    return _Reader(connection, known).record(_Row(*rows[0])) if rows else None


def load_hosts(connection: Session) -> list[HostRecord]:
    """All hosts, by name."""
    return list(map(_Reader(connection).record, map(_Row._make, _ALL.run(connection, {}).rows)))


_COLUMNS = [column.name for column in hosts.c]
_Row = namedtuple("_Row", _COLUMNS)  # type: ignore[misc]  # the table says which
_ALL = Prepared(select(hosts).order_by(hosts.c.name))
_BY_NAME = Prepared(select(hosts).where(hosts.c.name == bindparam("b_name")))
_INSERT = Prepared(insert(hosts), _COLUMNS)
_UPDATE = Prepared(
    update(hosts).where(hosts.c.name == bindparam("b_name")), [name for name in _COLUMNS if name != "name"]
)
_LOCK = Prepared(
    select(hosts.c.model, hosts.c.enabled, hosts.c.disabled_reason, hosts.c.generation)
    .where(hosts.c.name == bindparam("b_name"))
    .with_for_update()
)
_OF_HOST = pools.c.host == bindparam("b_host")
_POOLS = Prepared(select(pools.c.cell, pools.c.size_kib, pools.c.used).where(_OF_HOST))
_DELETE_POOLS = Prepared(delete(pools).where(_OF_HOST))
_INSERT_POOL = Prepared(insert(pools), [column.name for column in pools.c])
_MODEL_VALUES = ("digest", "document")
_INSERT_MODEL = {
    "sqlite": Prepared(sqlite.insert(topologies).on_conflict_do_nothing(), _MODEL_VALUES),
    "postgresql": Prepared(postgresql.insert(topologies).on_conflict_do_nothing(), _MODEL_VALUES),
}
_DOCUMENT = Prepared(select(topologies.c.document).where(topologies.c.digest == bindparam("b_digest")))
_MODEL = Prepared(select(topologies.c.digest).where(topologies.c.digest == bindparam("b_digest")))
_HEARD = (
    update(hosts)
    .where(hosts.c.name == bindparam("b_name"), hosts.c.last_seen_s < bindparam("b_at_s"))
    .values(last_seen_s=bindparam("b_at_s"))
)


class _Reader:
    """Reads many hosts at once: equal documents are decoded once, and hosts of one model share their topology."""

    def __init__(self, connection: Session, known: HostRecord | None = None) -> None:
        self._connection = connection
        self._models: dict[str, HostTopology] = {}
        if known is not None and known.topology is not None:
            self._models[known.model] = known.topology
        self._facts: dict[bytes, HostFacts] = {}
        self._usages: dict[bytes, Usage] = {}

    def record(self, row: Any) -> HostRecord:
        """A row of ``hosts`` as a value."""
        source = f"database: host {row.name}"
        facts, foreign = self._facts.get(row.facts), self._usages.get(row.foreign_usage)
        if facts is None:
            facts = self._facts[row.facts] = codec.decode(row.facts, HostFacts, source=source)
        if foreign is None:
            foreign = self._usages[row.foreign_usage] = codec.decode(row.foreign_usage, Usage, source=source)
        return HostRecord(
            name=row.name,
            topology=None if row.model is None else replace(self._model(row.model), hostname=row.name),
            model=row.model or "",
            digest=row.digest,
            facts=facts,
            foreign=foreign,
            foreign_vcpus=row.foreign_vcpus,
            foreign_ram_mb=row.foreign_ram_mb,
            reserved_ram_mb=row.reserved_ram_mb,
            enabled=bool(row.enabled),
            disabled_reason=row.disabled_reason,
            agent=bool(row.agent),
            last_seen_s=row.last_seen_s,
            generation=row.generation,
        )

    def _model(self, digest: str) -> HostTopology:
        model = self._models.get(digest)
        if model is None:
            [[document]] = _DOCUMENT.run(self._connection, {"b_digest": digest}).rows
            model = codec.decode(document, HostTopology, source=f"database: topology {digest}")
            self._models[digest] = model
        return model


def _save_model(connection: Session, host: HostRecord, topology: HostTopology) -> HostRecord:
    cells = tuple(
        replace(cell, free_kib=None, pages=tuple(replace(pool, free=None) for pool in cell.pages))
        for cell in topology.cells
    )
    model = replace(topology, hostname="", collected_at=None, cells=cells)
    document = codec.encode(model)
    digest = sha256(document).hexdigest()
    if not _MODEL.run(connection, {"b_digest": digest}).rows:
        _INSERT_MODEL[connection.dialect.name].run(connection, {"digest": digest, "document": document})
    return replace(host, topology=replace(model, hostname=host.name), model=digest)


def _save_pools(connection: Session, name: str, topology: HostTopology) -> None:
    """Pool sizes follow the host; what is claimed stays, even where the host has shrunk below it."""
    used = {(cell, size): taken for cell, size, taken in _POOLS.run(connection, {"b_host": name}).rows}
    _DELETE_POOLS.run(connection, {"b_host": name})
    rows = []
    for cell in topology.cells:
        for pool in cell.pages:
            taken = used.pop((cell.id, pool.size_kib), 0)
            rows.append((name, cell.id, pool.size_kib, max(pool.total, taken), taken))
    rows += [(name, cell, size, taken, taken) for (cell, size), taken in sorted(used.items()) if taken]
    _INSERT_POOL.run_many(connection, rows)
