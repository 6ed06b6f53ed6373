"""SQLite's log is carried over into the database's file beside the requests, so that none of them waits for the disk.

Each time all that was committed before is synced to the disk: a power cut takes no claims that are older than that.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

LOG = logging.getLogger("cellwright.scheduler")
EVERY_S = 1.0


@contextmanager
def checkpoints(engine: Engine, *, every_s: float = EVERY_S) -> Iterator[None]:
    """Inside it a thread makes checkpoints; nothing happens on PostgreSQL, which makes its own."""
    if engine.dialect.name != "sqlite":
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(engine, stop, every_s), name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def checkpoint(engine: Engine) -> None:
    """Carry over what can be without keeping anybody waiting; what is being read or written meanwhile is left."""
    held = engine.raw_connection()
    try:
        held.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        held.close()


def _run(engine: Engine, stop: threading.Event, every_s: float) -> None:
    failed = False
    while not stop.wait(every_s):
        try:
            checkpoint(engine)
        except sqlite3.Error as why:
            if not failed:
                LOG.warning("database: no checkpoint: %s; trying again every %g s", why, every_s)
            failed = True
        else:
            failed = False
