"""What the agent does on this host and when: on events as they come, and on its own clock.

Each step fails for itself: what cannot be done is said once, tried again when it is due, and keeps no other from being
done.  Only a libvirt that is away ends a round, because nothing can be done without.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from agent.compute.daemon.events import RETRY_S, Cause
from agent.compute.daemon.say import Say
from agent.compute.daemon.view import housekeeping
from agent.compute.daemon.worker import Worker
from agent.core.errors import CellwrightError, Unreachable

LOG = logging.getLogger("cellwright.agent")

PAGES_FIRST_S = 30.0
"""When pages are read for the first time: a start has other things to do."""


class Rounds:
    """The worker's thread.  ``accepted`` tells whether the scheduler takes our reports; ``libvirt_away`` why it is.

    ``done`` is called after each round, with the seconds until the next one that is due by the clock.
    """

    def __init__(
        self,
        worker: Worker,
        inbox: SimpleQueue[Cause],
        *,
        accepted: Callable[[], bool],
        done: Callable[[float], None],
        confine: Callable[[frozenset[int]], None],
    ) -> None:
        self.libvirt_away = ""
        self._worker = worker
        self._inbox = inbox
        self._accepted = accepted
        self._done = done
        self._confine = confine
        self._say = Say()
        now, settings = time.monotonic(), worker.settings.agent
        self._topology_at = now
        self._masks_at = now + settings.masks_interval_s
        self._pages_at = now + PAGES_FIRST_S

    def run(self) -> None:
        """Until STOP is in the inbox."""
        causes: set[Cause] = {Cause.HARDWARE}
        while Cause.STOP not in causes:
            self._worker.progress()
            try:
                self._round(causes)
            except Unreachable as why:
                if not self.libvirt_away:
                    LOG.error("%s", why)
                self.libvirt_away = str(why)
                self._topology_at = time.monotonic() + RETRY_S
                self._masks_at = self._pages_at = self._topology_at + RETRY_S
            wait_s = max(0.0, min(self._topology_at, self._masks_at, self._pages_at) - time.monotonic())
            self._done(wait_s)
            causes = self._wait(wait_s)
        with suppress(Unreachable):
            self._step("waking pCPUs", self._worker.leave_host)

    def _round(self, causes: set[Cause]) -> None:
        worker, settings, now = self._worker, self._worker.settings.agent, time.monotonic
        if causes & {Cause.HARDWARE, Cause.RELOAD} or now() >= self._topology_at:
            read = self._step("reading this host", self._read_all)
            self._topology_at = now() + (settings.topology_interval_s if read else RETRY_S)
            causes.add(Cause.NEWS)
        elif Cause.GUESTS in causes:
            self._step("reading guests", lambda: self._read_guests(causes))
        if self.libvirt_away:
            LOG.warning("libvirt answers again")
            self.libvirt_away = ""
        if Cause.NEWS in causes:
            self._step("the scheduler's guests", lambda: worker.reconcile(accepted=self._accepted()))
        if causes & {Cause.GUESTS, Cause.NEWS}:
            self._step("interrupts and idle pCPUs", worker.keep_host)
        if Cause.GUESTS in causes or now() >= self._masks_at:
            self._step("masks", worker.prove_masks)
            self._masks_at = now() + settings.masks_interval_s
        if now() >= self._pages_at:
            self._pages_at = now() + settings.pages_interval_s
            self._step("pages", self._prove_pages)

    def _step(self, what: str, do: Callable[[], object]) -> bool:
        """Whether it could be done; what it was that failed is said once, and when it is over."""
        try:
            do()
        except Unreachable:
            raise
        except CellwrightError as why:
            self._say.once(what, f"{what}: {why}")
            return False
        self._say.once(what, "")
        return True

    def _read_all(self) -> None:
        self._worker.read_all()
        if self._worker.view is not None:
            self._confine(frozenset(housekeeping(self._worker.view.topology)))

    def _read_guests(self, causes: set[Cause]) -> None:
        if self._worker.read_guests():
            causes.add(Cause.NEWS)

    def _prove_pages(self) -> None:
        settings = self._worker.settings.agent
        cost_s = self._worker.prove_pages()
        self._pages_at = time.monotonic() + max(settings.pages_interval_s, cost_s / settings.pages_share)

    def _wait(self, wait_s: float) -> set[Cause]:
        """What came in, all of it; empty when the time is up."""
        causes: set[Cause] = set()
        try:
            causes.add(self._inbox.get(timeout=wait_s))
            while True:
                causes.add(self._inbox.get_nowait())
        except Empty:
            return causes
