"""Instances in the database, and their claims.

An instance is changed only from the state it was read in: its generation must still be the same (Overtaken).  A claim
is one transaction: the host's generation must still be the one that the placement was computed on, every pCPU and PCI
device is inserted (the primary keys refuse a second owner), every pool is charged (its check refuses what is not
there), and the instance row changes.  All of it or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from agent.core import codec
from agent.core.decision import Decision
from agent.core.placement import Placement
from agent.core.request import Request
from agent.core.wire import InstanceStatus
from agent.scheduler.store.prepared import Cursor, Prepared, Session
from agent.scheduler.store.records import ClaimLost, InstanceRecord, Overtaken
from agent.scheduler.store.schema import devices, hosts, instances, pcpus, pools


def insert_instance(connection: Session, instance: InstanceRecord, decision: Decision | None = None) -> None:
    """A new instance; its claim, if it has a placement, is taken by ``claim``.  ClaimLost when its host is gone."""
    try:
        _INSERT.run(connection, {"id": instance.id, **values_of(instance, decision)})
    except IntegrityError as why:
        raise ClaimLost(instance.host or "") from why


def update_instance(connection: Session, instance: InstanceRecord, decision: Decision | None = None) -> InstanceRecord:
    """Replace what is kept of an instance, and answer it with its new generation.

    The trace of its decision stays unless a new one is given.  Overtaken when it is not any more what was read.
    """
    changed = replace(instance, generation=instance.generation + 1)
    values = {"b_id": instance.id, "b_generation": instance.generation, **values_of(changed, decision)}
    statement = _UPDATE if decision is None else _UPDATE_WITH_DECISION
    if not statement.run(connection, values).rowcount:
        raise Overtaken
    return changed


def claim(connection: Session, instance: str, placement: Placement, *, generation: int) -> None:
    """Take everything a placement needs on its host, or raise ClaimLost with nothing taken."""
    moved = _BUMP_IF.run(connection, {"b_name": placement.host, "b_generation": generation})
    if not moved.rowcount:
        raise ClaimLost(placement.host)
    try:
        host = placement.host
        _INSERT_PCPU.run_many(connection, [(host, pcpu, instance) for pcpu in placement.owned()])
        _INSERT_DEVICE.run_many(connection, [(host, device.pci, instance) for device in placement.devices])
        _charge(connection, placement, +1)
    except IntegrityError as why:
        raise ClaimLost(placement.host) from why


def release(connection: Session, instance: str, placement: Placement) -> int:
    """Give everything back; the answer is the host's new generation."""
    generation = touch(connection, placement.host)
    mine = {"b_instance": instance, "b_host": placement.host}
    _DELETE_PCPUS.run(connection, mine)
    if placement.devices:
        _DELETE_DEVICES.run(connection, mine)
    _charge(connection, placement, -1)
    return generation


def touch(connection: Session, host: str) -> int:
    """Let other schedulers know that something is new on a host, and hold it until commit; its new generation."""
    rows = _BUMP.run(connection, {"b_name": host}).rows
    if not rows:
        raise ClaimLost(host)
    return int(rows[0][0])


def delete_instance(connection: Connection, instance: InstanceRecord) -> None:
    """Forget an instance; its claim must have been released."""
    connection.execute(delete(instances).where(instances.c.id == instance.id))


def load_instance(connection: Session, id: str) -> InstanceRecord | None:
    """One instance, or None."""
    found = _records(_BY_ID.run(connection, {"b_id": id}))
    return found[0] if found else None


def find_instances(connection: Session, text: str) -> list[InstanceRecord]:
    """The instance with this id, or else all that have this name."""
    return _records(_BY_ID.run(connection, {"b_id": text})) or _records(_BY_NAME.run(connection, {"b_name": text}))


def load_instances(connection: Session, *, host: str | None = None) -> list[InstanceRecord]:
    """All instances, or those of one host, oldest first."""
    return _records(_ALL.run(connection, {}) if host is None else _ON_HOST.run(connection, {"b_host": host}))


def count_instances(connection: Connection) -> dict[str, int]:
    """Status → how many instances have it."""
    query = select(instances.c.status, func.count().label("number")).group_by(instances.c.status)
    return {row.status: row.number for row in connection.execute(query)}


def load_decision(connection: Connection, id: str) -> Decision | None:
    """How an instance came to where it is, if that is kept."""
    data = connection.execute(select(instances.c.decision).where(instances.c.id == id)).scalar_one_or_none()
    return None if data is None else codec.decode(data, Decision, source=f"database: decision of {id}")


def pages_of(placement: Placement) -> Counter[tuple[int, int]]:
    """(cell, page size in KiB) → pages a placement takes from pools; cells without a page size take none."""
    taken: Counter[tuple[int, int]] = Counter()
    for cell in placement.cells:
        if cell.page_kib:
            taken[cell.host_cell, cell.page_kib] += cell.memory_kib // cell.page_kib
    return taken


def _charge(connection: Session, placement: Placement, sign: int) -> None:
    charges = [
        {"b_host": placement.host, "b_cell": cell, "b_size": size, "b_count": sign * count}
        for (cell, size), count in sorted(pages_of(placement).items())
    ]
    for charge in charges:
        if not _CHARGE.run(connection, charge).rowcount and sign > 0:
            raise ClaimLost(placement.host)


_NAMES = [column.name for column in instances.c if column.name != "decision"]
_OLDEST_FIRST = select(*(instances.c[name] for name in _NAMES)).order_by(instances.c.created_s, instances.c.id)
_ALL = Prepared(_OLDEST_FIRST)
_BY_ID = Prepared(_OLDEST_FIRST.where(instances.c.id == bindparam("b_id")))
_BY_NAME = Prepared(_OLDEST_FIRST.where(instances.c.name == bindparam("b_name")))
_ON_HOST = Prepared(_OLDEST_FIRST.where(instances.c.host == bindparam("b_host")))
_COLUMNS = [column.name for column in instances.c if column.name not in ("id", "decision")]
_BUMP_IF = Prepared(
    update(hosts)
    .where(hosts.c.name == bindparam("b_name"), hosts.c.generation == bindparam("b_generation"))
    .values(generation=hosts.c.generation + 1)
)
_BUMP = Prepared(
    update(hosts)
    .where(hosts.c.name == bindparam("b_name"))
    .values(generation=hosts.c.generation + 1)
    .returning(hosts.c.generation)
)
_INSERT = Prepared(insert(instances), ["id", "decision", *_COLUMNS])
_OF_GENERATION = update(instances).where(
    instances.c.id == bindparam("b_id"), instances.c.generation == bindparam("b_generation")
)
_UPDATE = Prepared(_OF_GENERATION, _COLUMNS)
_UPDATE_WITH_DECISION = Prepared(_OF_GENERATION, ["decision", *_COLUMNS])
_INSERT_PCPU = Prepared(insert(pcpus), ["host", "pcpu", "instance"])
_INSERT_DEVICE = Prepared(insert(devices), ["host", "pci", "instance"])
_DELETE_PCPUS = Prepared(
    delete(pcpus).where(pcpus.c.instance == bindparam("b_instance"), pcpus.c.host == bindparam("b_host"))
)
_DELETE_DEVICES = Prepared(
    delete(devices).where(devices.c.instance == bindparam("b_instance"), devices.c.host == bindparam("b_host"))
)
_CHARGE = Prepared(
    update(pools)
    .where(
        pools.c.host == bindparam("b_host"),
        pools.c.cell == bindparam("b_cell"),
        pools.c.size_kib == bindparam("b_size"),
    )
    .values(used=pools.c.used + bindparam("b_count"))
)


def values_of(instance: InstanceRecord, decision: Decision | None) -> dict[str, Any]:
    """The columns of an instance but for its id, as the driver takes them."""
    flavor = instance.request.flavor
    placement = None if instance.placement is None else codec.encode(instance.placement)
    return {
        "name": instance.name,
        "project": instance.project,
        "status": instance.status.value,
        "host": instance.host,
        "group_name": instance.group,
        "vcpus": flavor.vcpus,
        "ram_mb": flavor.ram_mb,
        "disk_gb": flavor.disk_gb + flavor.ephemeral_gb,
        "request": codec.encode(instance.request),
        "placement": placement,
        "decision": None if decision is None else _encode(decision, instance.placement, placement),
        "reason": instance.reason[:4000],
        "tried": _join(instance.tried),
        "waits_for": _join(instance.waits_for),
        "created_s": instance.created_s,
        "updated_s": instance.updated_s,
        "expires_s": instance.expires_s,
        "generation": instance.generation,
    }


def _encode(decision: Decision, placement: Placement | None, encoded: bytes | None) -> bytes:
    """The decision's document; its placement is mostly the instance's, whose text is there already."""
    if encoded is None or decision.placement is not placement:
        return codec.encode(decision)
    return codec.encode({**msgspec.structs.asdict(decision), "placement": msgspec.Raw(encoded)})


def _join(names: Iterable[str]) -> str:
    return ",".join(names)[:4000]


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _records(found: Cursor) -> list[InstanceRecord]:
    return [_record(dict(zip(_NAMES, row, strict=True))) for row in found.rows]


def _record(row: dict[str, Any]) -> InstanceRecord:
    source = f"database: instance {row['id']}"
    placement = row["placement"]
    return InstanceRecord(
        id=row["id"],
        name=row["name"],
        project=row["project"],
        status=InstanceStatus(row["status"]),
        host=row["host"],
        group=row["group_name"],
        request=codec.decode(row["request"], Request, source=source),
        placement=None if placement is None else codec.decode(placement, Placement, source=source),
        reason=row["reason"],
        tried=_split(row["tried"]),
        waits_for=_split(row["waits_for"]),
        created_s=row["created_s"],
        updated_s=row["updated_s"],
        expires_s=row["expires_s"],
        generation=row["generation"],
    )
