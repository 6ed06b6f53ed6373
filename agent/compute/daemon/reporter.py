"""What the scheduler hears of this host and answers, and the metrics of the same moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent.compute.daemon.link import Link
from agent.compute.daemon.metrics import write_textfile
from agent.compute.daemon.say import Say
from agent.compute.daemon.view import HostView, report_of
from agent.compute.daemon.worker import Worker
from agent.core.errors import CellwrightError, Unreachable

LOG = logging.getLogger("cellwright.agent")


class Reporter:
    """Reports of one worker's view.

    ``accepted`` is set while the scheduler takes them, and ``welcome`` called when it begins to.  ``away`` says why it
    does not.  ``interval_s`` is when it wants the next one.
    """

    def __init__(self, worker: Worker, link: Link, *, accepted: threading.Event, welcome: Callable[[], None]) -> None:
        self.away = ""
        self.interval_s = worker.settings.agent.report_interval_s or 10.0
        self._worker = worker
        self._link = link
        self._accepted = accepted
        self._welcome = welcome
        self._say = Say()
        self._reported: HostView | None = None
        self._reported_at: float | None = None

    def has_news(self) -> bool:
        """Whether the scheduler should hear at once: the topology, or what guests hold, is not as reported last."""
        view, last = self._worker.view, self._reported
        return view is not None and last is not None and _gist(view) != _gist(last)

    def fall_silent(self) -> None:
        """Nothing is reported: a host whose libvirt is away takes no guests, and the scheduler sees that it is down."""
        self._accepted.clear()

    def report(self) -> None:
        """Say what is known now, with the topology where that is new to the scheduler."""
        view = self._worker.view
        if view is None:
            return
        whole = self._reported is None or self._reported.digest != view.digest
        self._reported = view
        try:
            for _ in range(2):
                agent = self._worker.state.agent
                answer = self._link.report(report_of(view, agent=agent, whole=whole))
                whole = answer.send_topology
                if not whole:
                    break
        except CellwrightError as why:
            if self.away != str(why):
                LOG.log(logging.WARNING if isinstance(why, Unreachable) else logging.ERROR, "report: %s", why)
            self.away = str(why)
            self._reported = None
            self._accepted.clear()
            return
        if self.away:
            LOG.warning("the scheduler takes our reports again")
        self.away = ""
        self._reported_at = time.monotonic()
        self.interval_s = self._worker.settings.agent.report_interval_s or max(1.0, answer.interval_s)
        if not self._accepted.is_set():
            self._accepted.set()
            self._welcome()

    def metrics(self) -> str:
        """Prometheus' text of this moment."""
        at = self._reported_at
        return self._worker.metrics(None if at is None else time.monotonic() - at)

    def publish(self) -> None:
        """Put the metrics into the textfile, where one is wanted."""
        path = self._worker.settings.agent.textfile
        if path is None:
            return
        try:
            write_textfile(Path(path), self.metrics())
        except CellwrightError as why:
            self._say.once("textfile", str(why))
        else:
            self._say.once("textfile", "")


def _gist(view: HostView) -> tuple[object, ...]:
    return view.digest, view.foreign, view.running
