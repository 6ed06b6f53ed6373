"""Opening the database: one engine, right pragmas, schema brought up to date, errors in our words."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    DisconnectionError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from agent.core.errors import BadInput, Unreachable
from agent.scheduler.store.prepared import execute
from agent.scheduler.store.records import ClaimLost

__all__ = ["Connection", "Engine", "migrate", "open_database", "our_words", "parse_url", "shown", "transaction"]

RACES = ("40001", "40P01")
"""PostgreSQL's serialization failure and deadlock: nothing is wrong, another was there at the same time."""

POSTGRESQL_OPTIONS = {
    "connect_timeout": 10,
    "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=30s",
}
"""A scheduler that vanished with its machine must not hold its locks for the hours that TCP takes to notice."""

IDLE_S = 1.0

MOST_LOG_PAGES = 25_000
"""100 MB: two seconds of claims as fast as they can be made."""

SECRETS = ("password", "sslpassword")
"""What PostgreSQL's client takes in the address's query as well as before its @."""

ALLOWED = "sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"


def open_database(url: str) -> Engine:
    """An engine on ``url`` with the newest schema; BadInput for a URL that is none, Unreachable when nobody answers."""
    parsed = parse_url(url)
    shared = parsed.get_backend_name() == "postgresql"
    if not shared and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args=POSTGRESQL_OPTIONS if shared else {})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_pragmas)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _ask_after_a_pause)
    try:
        migrate(engine)
    except OperationalError as why:
        raise Unreachable(f"database {shown(parsed)} does not answer: {str(why.orig).strip().splitlines()[0]}") from why
    except DatabaseError as why:
        raise BadInput(f"database {shown(parsed)}: {str(why.orig).strip().splitlines()[0]}") from why
    return engine


def parse_url(url: str) -> URL:
    """A database's address; BadInput for one that is none, or of a database that is not ours to use."""
    try:
        parsed = make_url(re.sub("^postgresql://", "postgresql+psycopg://", url))
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise BadInput(f"database {shown(parsed)}: allowed: {ALLOWED}")
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as why:
        without = re.sub(r":[^/@]*@", ":***@", url)
        raise BadInput(f"database {without!r} is no database URL; allowed: {ALLOWED}") from why
    return parsed


def shown(url: str | URL) -> str:
    """A database's address without its secrets, wherever they stand in it."""
    parsed = make_url(url)
    query = {key: "hidden" if key in SECRETS else value for key, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string()


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a revision, newer or older; nothing happens when it is there already."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5min'")  # another may be at it: it takes its time
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267)")
        config.attributes["connection"] = connection
        found = MigrationContext.configure(connection).get_current_revision()
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        if found is not None and found not in known:
            raise BadInput(
                f"database {shown(engine.url)}: its schema {found} is from a newer cellwright; "
                f"this one knows up to {known[0]}"
            )
        back = found is not None and revision in known[known.index(found) + 1 :]
        (command.downgrade if back else command.upgrade)(config, revision)


@contextmanager
def transaction(engine: Engine, *, snapshot: bool = False) -> Iterator[Connection]:
    """One transaction, rolled back when anything is raised; what the database raises is told in our words.

    With ``snapshot`` all that is read in it is as of one moment, as it always is on SQLite.
    """
    with our_words(), engine.connect() as connection:
        if engine.dialect.name == "postgresql" and snapshot:
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def our_words() -> Iterator[None]:
    """Unreachable for a database that went away; BadInput when something is too long or large for it, or has a NUL.

    ClaimLost when the database chose this transaction to give way to another's: the caller decides anew.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as why:
        if getattr(why.orig, "sqlstate", None) in RACES:
            raise ClaimLost from why
        raise Unreachable(f"database: {str(why.orig).strip().splitlines()[0]}") from why
    except (DataError, OverflowError) as why:
        said = why.orig if isinstance(why, DataError) else why
        raise BadInput(f"database: {str(said).strip().splitlines()[0]}") from why


def _sqlite_pragmas(connection, record) -> None:  # type: ignore[no-untyped-def]  # the driver's own types
    """WAL with synchronous=NORMAL: what is committed outlives every kill of the process, and not every power cut.

    FULL would sync the log at each commit; that was measured at 2.4 ms more a claim (6.6 to 9.0 ms on a busy machine).
    After a power cut the database is whole, at worst without the claims since the last checkpoint, which a scheduler
    makes every second; their guests are then foreign usage that their agents report, so that nothing is given twice.
    PostgreSQL keeps every claim.  A commit makes a checkpoint itself only when the log has grown far beyond that.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        f"wal_autocheckpoint={MOST_LOG_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _note_use(connection, record) -> None:  # type: ignore[no-untyped-def]
    record.info["used_s"] = time.monotonic()


def _ask_after_a_pause(connection, record, proxy) -> None:  # type: ignore[no-untyped-def]
    """A connection that was idle may be dead by now: it is asked first, and replaced; one in constant use is not."""
    if connection.closed:
        raise DisconnectionError
    if time.monotonic() - record.info.get("used_s", math.inf) > IDLE_S:
        try:
            connection.execute("SELECT 1")
            connection.rollback()
        except psycopg.Error as why:
            raise DisconnectionError from why


def _sqlite_begin(connection: Connection) -> None:
    execute(connection, "BEGIN IMMEDIATE", ())
