"""The agent's threads: one acts on this host, three listen, the main one reports and answers signals."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from random import Random
from types import FrameType

from agent.compute.daemon.events import Cause, watch_kernel, watch_libvirt, watch_scheduler
from agent.compute.daemon.link import Link
from agent.compute.daemon.pulses import Pulses
from agent.compute.daemon.reporter import Reporter
from agent.compute.daemon.rounds import Rounds
from agent.compute.daemon.worker import Worker
from agent.core.errors import CellwrightError
from agent.core.notify import Manager
from agent.settings.document import Settings

LOG = logging.getLogger("cellwright.agent")

MOST_S = {"host": 900.0, "libvirt": 300.0, "scheduler": 120.0, "metrics": 60.0}
"""How long each thread may take for one step.  A guest whose memory is allocated at its start may need minutes; the
thread that waits for the kernel's events may wait for ever.
"""


class Service:
    """A running agent.  ``read_settings`` is called again on SIGHUP; ``confine`` keeps this process on some pCPUs."""

    def __init__(
        self,
        worker: Worker,
        link: Link,
        *,
        read_settings: Callable[[], Settings],
        manager: Manager,
        random: Random,
        confine: Callable[[frozenset[int]], None],
    ) -> None:
        self._worker = worker
        self._link = link
        self._read_settings = read_settings
        self._manager = manager
        self._random = random
        self._inbox: SimpleQueue[Cause] = SimpleQueue()
        self._main: SimpleQueue[str] = SimpleQueue()
        self._accepted = threading.Event()
        self._stop = threading.Event()
        self._pulses = Pulses(time.monotonic)
        self._dead = ""
        self._stuck: dict[str, float] = {}
        self._reporter = Reporter(worker, link, accepted=self._accepted, welcome=lambda: self._inbox.put(Cause.NEWS))
        self._rounds = Rounds(
            worker, self._inbox, accepted=self._accepted.is_set, done=self._round_done, confine=confine
        )

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the answer is the exit code."""
        for number, word in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
            signal.signal(number, self._on_signal(word))
        self._worker.progress = self._beat("host")
        uri = self._worker.settings.agent.connect
        random = Random(self._random.random())
        threads = [
            self._start("host", self._rounds.run),
            self._start("libvirt", watch_libvirt, uri, self._inbox.put, self._stop, beat=self._beat("libvirt")),
        ]
        self._start("kernel", watch_kernel, self._inbox.put)
        self._start(
            "scheduler",
            watch_scheduler,
            self._link,
            self._inbox.put,
            accepted=self._accepted,
            stop=self._stop,
            random=random,
            beat=self._beat("scheduler"),
        )
        if self._worker.settings.agent.metrics_listen is not None:
            from agent.compute.daemon.metrics_server import serve_metrics  # a MiB that few agents need

            serve_metrics(
                self._worker.settings.agent.metrics_listen, self._reporter.metrics, beat=self._beat("metrics")
            )
        self._loop()
        self._manager.tell(STOPPING=1, STATUS="stopping; guests run on")
        self._stop.set()
        self._inbox.put(Cause.STOP)
        for thread in threads:
            thread.join(20)
        LOG.warning("stopped; guests run on")
        return 1 if self._dead else 0

    def _start(self, name: str, work: Callable[..., None], *words: object, **more: object) -> threading.Thread:
        """A thread; one that ends in any other way than by coming to its end ends the agent, which is started again."""

        def run() -> None:
            try:
                work(*words, **more)
            except Exception:
                LOG.exception("thread %s", name)
                self._dead = name
                self._main.put("stop")
            self._pulses.end(name)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _beat(self, name: str) -> Callable[[], None]:
        return lambda: self._pulses.beat(name, MOST_S[name])

    def _round_done(self, wait_s: float) -> None:
        self._main.put("read")
        self._pulses.beat("host", wait_s + MOST_S["host"])

    def _loop(self) -> None:
        ready = False
        report_at = time.monotonic() + 3600
        turn_s = min(self._manager.watchdog_s / 3 if self._manager.watchdog_s else 3600.0, 3600.0)
        while True:
            word = self._next(min(turn_s, max(0.0, report_at - time.monotonic())))
            if word == "stop":
                return
            if word == "reload":
                self._reload()
            if word == "read" and not ready:
                ready, report_at = True, time.monotonic()
                self._manager.tell(READY=1, STATUS=self._status())
            away = self._rounds.libvirt_away
            if ready and (time.monotonic() >= report_at or (self._reporter.has_news() and not away)):
                self._reporter.fall_silent() if away else self._reporter.report()
                report_at = time.monotonic() + self._reporter.interval_s * self._random.uniform(0.9, 1.1)
                self._reporter.publish()
            self._tell_watchdog()

    def _tell_watchdog(self) -> None:
        """Alive is who moves in every thread; who does not is named, and killed by the manager in the end."""
        stuck = self._pulses.overdue()
        for name in stuck.keys() - self._stuck.keys():
            LOG.error("thread %s has not moved for %.0f s: the watchdog is not told", name, MOST_S[name])
        for name in self._stuck.keys() - stuck.keys():
            LOG.warning("thread %s moves again", name)
        self._stuck = stuck
        if stuck:
            self._manager.tell(STATUS=f"stuck: {', '.join(stuck)}")
        else:
            self._manager.tell(WATCHDOG=1, STATUS=self._status())

    def _next(self, wait_s: float) -> str:
        try:
            return self._main.get(timeout=wait_s) if wait_s > 0 else self._main.get_nowait()
        except Empty:
            return ""

    def _status(self) -> str:
        view, guests = self._worker.view, self._worker.guests
        if view is None:
            return self._rounds.libvirt_away or "reading the host"
        verdict = self._worker.prover.quick
        findings = sum(len(guest.findings) for guest in verdict.guests) if verdict else 0
        parts = [
            f"{len(guests.claimants)} guests, {len(view.running)} of them the scheduler's",
            f"{findings} findings" if findings else "all masks as placed",
        ]
        parts += [text for text in (self._rounds.libvirt_away, self._reporter.away) if text]
        return "; ".join(parts)

    def _reload(self) -> None:
        self._manager.tell_reloading()
        try:
            settings = self._read_settings()
        except CellwrightError as why:
            LOG.error("settings not read again, the old ones stand: %s", why)
        else:
            self._worker.change_settings(settings)
            self._inbox.put(Cause.RELOAD)
            LOG.warning("settings read again")
        self._manager.tell(READY=1, STATUS=self._status())

    def _on_signal(self, word: str) -> Callable[[int, FrameType | None], None]:
        return lambda _number, _frame: self._main.put(word)
