"""Follow the other schedulers of a database: what they change is taken in as they tell it, and now and then anyway."""

from __future__ import annotations

import logging
import threading

from agent.core.errors import CellwrightError
from agent.scheduler.state import State
from agent.scheduler.store.notices import are_shared, listen
from agent.scheduler.store.records import ClaimLost

LOG = logging.getLogger("cellwright.scheduler")
CATCH_UP_EVERY_S = 10.0
AGAIN_AFTER_S = 1.0


class Follower:
    """A thread that keeps one scheduler's memory near the store; none is needed where nobody else can be."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin, if the database is one that several schedulers may share."""
        if are_shared(self._state.engine):
            self._thread.start()

    def stop(self) -> None:
        """End soon; the thread does not outlive the process in any case."""
        self._stop.set()

    def _run(self) -> None:
        away = False
        while not self._stop.is_set():
            try:
                for notices in listen(self._state.engine, every_s=CATCH_UP_EVERY_S):
                    if away:
                        LOG.warning("the database is back")
                        away = False
                    if self._stop.is_set():
                        return
                    if not notices:
                        self._state.catch_up()
                        continue
                    self._state.follow({notice.host: notice.generation for notice in notices if notice.host})
                    if any(notice.host is None for notice in notices):
                        self._state.follow_catalogue()
            except (CellwrightError, ClaimLost) as why:
                if not away:
                    LOG.warning("%s; trying again every %g s", why, AGAIN_AFTER_S)
                away = True
                self._stop.wait(AGAIN_AFTER_S)
            except Exception:  # a fault of ours must not end this for good
                LOG.exception("what other schedulers changed was not read; trying again every %g s", CATCH_UP_EVERY_S)
                self._stop.wait(CATCH_UP_EVERY_S)
