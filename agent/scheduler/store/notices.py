"""What other schedulers say through PostgreSQL: its triggers notify at commit, and this listens.

A notice that is lost costs only time: claims are checked against the database, and listeners catch up now and then.
"""

from __future__ import annotations

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


def listen(engine: Engine, *, every_s: float) -> Iterator[Notice | None]:
    """Notices as they come, and None at first and then every ``every_s`` seconds, when it is time to catch up.

    Unreachable when the connection is lost; listen again then.
    """
    arguments, options = engine.dialect.create_connect_args(engine.url)
    try:
        with psycopg.connect(*arguments, **options, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while True:
                yield None
                for notice in connection.notifies(timeout=every_s):
                    yield parse_notice(notice.payload)
    except psycopg.OperationalError as why:
        raise Unreachable(f"database: {str(why).strip() or 'the connection is lost'}") from why


def parse_notice(payload: str) -> Notice:
    """The notice of ``host GENERATION NAME``, ``gone NAME`` or ``catalogue NUMBER``."""
    kind, _, rest = payload.partition(" ")
    if kind == "host":
        generation, _, name = rest.partition(" ")
        return Notice(name, int(generation))
    return Notice(rest) if kind == "gone" else Notice()
