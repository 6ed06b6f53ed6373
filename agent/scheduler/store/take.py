"""A new instance with its claim in one statement: to PostgreSQL each statement more is a round trip more.

The statement is the whole transaction of ``instances.insert_instance`` and ``instances.claim``, with their conditions:
the host is at the generation that was decided on, its pools exist, and the project has no quota.  Where one does not
hold, nothing is done, and those say why.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from agent.core.decision import Decision
from agent.scheduler.store.direct import Direct
from agent.scheduler.store.instances import pages_of, values_of
from agent.scheduler.store.prepared import execute
from agent.scheduler.store.records import InstanceRecord
from agent.scheduler.store.schema import instances

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_COLUMNS = [column.name for column in instances.c]
_VALUES = ", ".join(f"%({column.name})s::{column.type.compile(_DIALECT)}" for column in instances.c)

TAKE = f"""
WITH asked AS (
  SELECT * FROM unnest(%(cells)s::int[], %(sizes)s::bigint[], %(counts)s::bigint[]) AS asked(cell, size_kib, count)
), target AS (
  UPDATE hosts SET generation = generation + 1
  WHERE name = %(host)s AND generation = %(seen)s
    AND NOT EXISTS (SELECT 1 FROM quotas WHERE project = %(project)s)
    AND NOT EXISTS (
      SELECT 1 FROM asked LEFT JOIN pools
        ON pools.host = %(host)s AND pools.cell = asked.cell AND pools.size_kib = asked.size_kib
      WHERE pools.host IS NULL)
  RETURNING name
), owned AS (
  INSERT INTO pcpus (host, pcpu, instance)
  SELECT target.name, pcpu, %(id)s FROM target, unnest(%(pcpus)s::int[]) AS pcpu
), given AS (
  INSERT INTO devices (host, pci, instance)
  SELECT target.name, pci, %(id)s FROM target, unnest(%(devices)s::text[]) AS pci
), charged AS (
  UPDATE pools SET used = pools.used + asked.count FROM target, asked
  WHERE pools.host = target.name AND pools.cell = asked.cell AND pools.size_kib = asked.size_kib
)
INSERT INTO instances ({", ".join(_COLUMNS)}) SELECT {_VALUES} FROM target
"""


def take_at_once(direct: Direct, instance: InstanceRecord, decision: Decision, *, seen: int) -> bool:
    """Insert an instance of no group with its claim on a host at generation ``seen``; False when nothing was done."""
    if direct.dialect.name != "postgresql" or instance.placement is None:
        return False
    pages = sorted(pages_of(instance.placement).items())
    values = {
        "id": instance.id,
        **values_of(instance, decision),
        "seen": seen,
        "pcpus": _array(instance.placement.owned()),
        "devices": [device.pci for device in instance.placement.devices],
        "cells": _array(cell for (cell, _), _ in pages),
        "sizes": _array(size for (_, size), _ in pages),
        "counts": _array(count for _, count in pages),
    }
    try:
        with direct.alone():
            return execute(direct, TAKE, values).rowcount == 1
    except IntegrityError:
        return False


def _array(numbers: Iterable[int]) -> str:
    """PostgreSQL's text of an array; the driver takes longer over a list."""
    return "{" + ",".join(map(str, numbers)) + "}"
