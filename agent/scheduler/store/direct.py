"""A connection for the claim's few statements, without what SQLAlchemy does around each: that takes longer than they.

Statements are Prepared ones, or the driver's own text (agent.scheduler.store.prepared).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Dialect, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from agent.scheduler.store.database import IDLE_S, our_words
from agent.scheduler.store.prepared import execute

MOST_DEAD = 20
"""More than a pool holds."""


class Direct:
    """One connection that is kept; whoever uses it holds a lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: PoolProxiedConnection | None = None
        self._driver: Any = None
        self._used_s = 0.0
        event.listen(engine, "engine_disposed", self._close)

    @property
    def dialect(self) -> Dialect:
        """What the database speaks."""
        return self._engine.dialect

    @property
    def connection(self) -> Any:
        """The driver's connection."""
        assert self._driver is not None
        return self._driver

    def invalidate(self, exception: BaseException | None = None) -> None:
        """Let go of a connection that is lost; the next use opens another."""
        held, self._held, self._driver = self._held, None, None
        if held is not None:
            held.invalidate(exception)

    @contextmanager
    def transaction(self) -> Iterator[Direct]:
        """As agent.scheduler.store.database.transaction."""
        with self.alone():
            execute(self, "BEGIN IMMEDIATE" if self.dialect.name == "sqlite" else "BEGIN", ())
            try:
                yield self
                execute(self, "COMMIT", ())
            except BaseException:
                if self._held is not None:
                    with suppress(DBAPIError):
                        execute(self, "ROLLBACK", ())
                raise

    @contextmanager
    def alone(self) -> Iterator[Direct]:
        """Each statement inside is a transaction.  After trouble the next use opens another connection."""
        with our_words():
            self._be_ready()
            try:
                yield self
            except (OperationalError, InterfaceError) as why:
                self.invalidate(why)
                raise
            self._used_s = time.monotonic()

    def _be_ready(self) -> None:
        """Open it; one that is new here or was idle may be dead already, and is asked first."""
        for _ in range(MOST_DEAD):
            if self._held is None:
                self._open()
            elif time.monotonic() - self._used_s <= IDLE_S:
                return
            try:
                execute(self, "SELECT 1", ())
                return
            except DBAPIError:
                self.invalidate()
        self._open()

    def _open(self) -> None:
        """A connection of the pool, which may have been there for long."""
        try:
            self._held = self._engine.raw_connection()
            self._driver = self._held.driver_connection
            if self.dialect.name == "postgresql":
                self.connection.autocommit = True
        except self.dialect.loaded_dbapi.Error as why:
            raise OperationalError(None, None, why) from why

    def _close(self, engine: Engine) -> None:
        self.invalidate()
