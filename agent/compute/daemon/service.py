"""The agent's threads: one acts on this host, three listen, the main one reports and answers signals."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from types import FrameType

from agent.compute.daemon.events import RETRY_S, Cause, watch_kernel, watch_libvirt, watch_scheduler
from agent.compute.daemon.link import Link
from agent.compute.daemon.metrics import write_textfile
from agent.compute.daemon.pulses import Pulses
from agent.compute.daemon.view import HostView, housekeeping, report_of
from agent.compute.daemon.worker import Worker
from agent.core.errors import CellwrightError, Unreachable
from agent.core.notify import Manager
from agent.settings.document import Settings

LOG = logging.getLogger("cellwright.agent")

PAGES_FIRST_S = 30.0
"""When pages are read for the first time: a start has other things to do."""

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
        self._confine = confine
        self._inbox: SimpleQueue[Cause] = SimpleQueue()
        self._main: SimpleQueue[str] = SimpleQueue()
        self._accepted = threading.Event()
        self._stop = threading.Event()
        self._pulses = Pulses(time.monotonic)
        self._dead = ""
        self._stuck: dict[str, float] = {}
        self._interval_s = worker.settings.agent.report_interval_s or 10.0
        self._textfile_failed = False
        self._libvirt_away = ""
        self._scheduler_away = ""
        self._reported: HostView | None = None
        self._reported_at: float | None = None

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the answer is the exit code."""
        for number, word in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
            signal.signal(number, self._on_signal(word))
        self._worker.progress = self._beat("host")
        uri = self._worker.settings.agent.connect
        random = Random(self._random.random())
        threads = [
            self._start("host", self._work),
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

            serve_metrics(self._worker.settings.agent.metrics_listen, self.metrics, beat=self._beat("metrics"))
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

    # ---------------------------------------------------------------- the main thread

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
            if ready and (time.monotonic() >= report_at or self._has_news()):
                self._report()
                report_at = time.monotonic() + self._interval_s * self._random.uniform(0.9, 1.1)
                self._publish()
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

    def metrics(self) -> str:
        """Prometheus' text of this moment."""
        at = self._reported_at
        return self._worker.metrics(None if at is None else time.monotonic() - at)

    def _publish(self) -> None:
        path = self._worker.settings.agent.textfile
        if path is None:
            return
        try:
            write_textfile(Path(path), self.metrics())
        except CellwrightError as why:
            if not self._textfile_failed:
                LOG.error("%s", why)
            self._textfile_failed = True
        else:
            self._textfile_failed = False

    def _next(self, wait_s: float) -> str:
        try:
            return self._main.get(timeout=wait_s) if wait_s > 0 else self._main.get_nowait()
        except Empty:
            return ""

    def _has_news(self) -> bool:
        """Whether the scheduler should hear at once: the topology, or what guests hold, is not as reported last."""
        view, last = self._worker.view, self._reported
        return view is not None and last is not None and not self._libvirt_away and _gist(view) != _gist(last)

    def _report(self) -> None:
        view = self._worker.view
        if view is None or self._libvirt_away:
            self._accepted.clear()  # a host whose libvirt is away takes no guests: let the scheduler see it fall silent
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
            if self._scheduler_away != str(why):
                LOG.log(logging.WARNING if isinstance(why, Unreachable) else logging.ERROR, "report: %s", why)
            self._scheduler_away = str(why)
            self._reported = None
            self._accepted.clear()
            return
        if self._scheduler_away:
            LOG.warning("the scheduler takes our reports again")
        self._scheduler_away = ""
        self._reported_at = time.monotonic()
        self._interval_s = self._worker.settings.agent.report_interval_s or max(1.0, answer.interval_s)
        if not self._accepted.is_set():
            self._accepted.set()
            self._inbox.put(Cause.NEWS)

    def _status(self) -> str:
        view, guests = self._worker.view, self._worker.guests
        if view is None:
            return self._libvirt_away or "reading the host"
        verdict = self._worker.prover.quick
        findings = sum(len(guest.findings) for guest in verdict.guests) if verdict else 0
        parts = [
            f"{len(guests.claimants)} guests, {len(view.running)} of them the scheduler's",
            f"{findings} findings" if findings else "all masks as placed",
        ]
        parts += [text for text in (self._libvirt_away, self._scheduler_away) if text]
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

    # ---------------------------------------------------------------- the worker's thread

    def _work(self) -> None:
        settings = self._worker.settings.agent
        now = time.monotonic()
        topology_at, masks_at, pages_at = now, now + settings.masks_interval_s, now + PAGES_FIRST_S
        causes: set[Cause] = {Cause.HARDWARE}
        while Cause.STOP not in causes:
            self._worker.progress()
            settings = self._worker.settings.agent
            try:
                if causes & {Cause.HARDWARE, Cause.RELOAD} or time.monotonic() >= topology_at:
                    self._worker.read_all()
                    self._settle_down()
                    causes.add(Cause.NEWS)
                    topology_at = time.monotonic() + settings.topology_interval_s
                elif Cause.GUESTS in causes and self._worker.read_guests():
                    causes.add(Cause.NEWS)
                self._found_libvirt()
                if Cause.NEWS in causes:
                    self._worker.reconcile(accepted=self._accepted.is_set())
                if causes & {Cause.GUESTS, Cause.NEWS}:
                    self._worker.keep_host()
                if Cause.GUESTS in causes or time.monotonic() >= masks_at:
                    self._worker.prove_masks()
                    masks_at = time.monotonic() + settings.masks_interval_s
                if time.monotonic() >= pages_at:
                    cost_s = self._worker.prove_pages()
                    pages_at = time.monotonic() + max(settings.pages_interval_s, cost_s / settings.pages_share)
            except Unreachable as why:
                if not self._libvirt_away:
                    LOG.error("%s", why)
                self._libvirt_away = str(why)
                topology_at = time.monotonic() + RETRY_S
                masks_at = pages_at = topology_at + RETRY_S
            except CellwrightError as why:
                LOG.error("%s", why)
            self._main.put("read")
            wait_s = min(topology_at, masks_at, pages_at) - time.monotonic()
            self._pulses.beat("host", wait_s + MOST_S["host"])
            causes = self._wait(wait_s)
        try:
            self._worker.leave_host()
        except CellwrightError as why:
            LOG.error("%s", why)

    def _wait(self, wait_s: float) -> set[Cause]:
        """What came in, all of it; empty when the time is up."""
        causes: set[Cause] = set()
        try:
            causes.add(self._inbox.get(timeout=max(0.0, wait_s)))
            while True:
                causes.add(self._inbox.get_nowait())
        except Empty:
            return causes

    def _found_libvirt(self) -> None:
        if self._libvirt_away:
            LOG.warning("libvirt answers again")
            self._libvirt_away = ""

    def _settle_down(self) -> None:
        if self._worker.view is not None:
            self._confine(frozenset(housekeeping(self._worker.view.topology)))


def _gist(view: HostView) -> tuple[object, ...]:
    return view.digest, view.foreign, view.running
