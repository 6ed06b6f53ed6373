"""What other schedulers say through PostgreSQL: its triggers notify at commit, and this listens.

A notice that is lost costs only time: claims are checked against the database, and listeners catch up now and then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import psycopg
from sqlalchemy import Engine

from agent.core.errors import Unreachable

CHANNEL = "cellwright"


class Notice(msgspec.Struct, frozen=True):
    """A host is at a ``generation`` (None: it is gone), or, without a ``host``, the catalogue was changed."""

    host: str | None = None
    generation: int | None = None


def are_shared(engine: Engine) -> bool:
    """Whether other schedulers may work on this database, and tell of it."""
    return engine.dialect.name == "postgresql"


def listen(engine: Engine, *, every_s: float) -> Iterator[list[Notice]]:
    """Notices as they come, several at once on a busy day, and none at all when it is time to catch up.

    That is at first, and when ``every_s`` seconds have passed since.  Unreachable when the connection is lost; listen
    again then.
    """
    arguments, options = engine.dialect.create_connect_args(engine.url)
    try:
        with psycopg.connect(*arguments, **options, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while True:
                yield []
                until_s = time.monotonic() + every_s
                while (left_s := until_s - time.monotonic()) > 0:
                    heard = connection.notifies(timeout=left_s, stop_after=1)
                    if notices := [parse_notice(one.payload) for one in heard]:
                        yield notices
    except psycopg.OperationalError as why:
        raise Unreachable(f"database: {(str(why).strip() or 'the connection is lost').splitlines()[0]}") from why


def parse_notice(payload: str) -> Notice:
    """The notice of ``host GENERATION NAME``, ``gone NAME`` or ``catalogue NUMBER``."""
    kind, _, rest = payload.partition(" ")
    if kind == "host":
        generation, _, name = rest.partition(" ")
        return Notice(name, int(generation))
    return Notice(rest) if kind == "gone" else Notice()
