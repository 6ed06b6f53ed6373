"""uvicorn as a service: it tells its manager how it goes, reads its settings again, and lets long polls go."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn

from agent.core.errors import CellwrightError
from agent.core.notify import Manager
from agent.scheduler.collector import collect
from agent.scheduler.news import News
from agent.scheduler.service import Scheduler
from agent.settings.document import Settings
from agent.settings.scheduling import Service

LOG = logging.getLogger("cellwright.scheduler")


class Server(uvicorn.Server):
    """The server of one scheduler.  ``read_settings`` is called on SIGHUP, ``manager`` told of it and of all else."""

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler, service: Service, news: News) -> None:
        super().__init__(config)
        self.manager = Manager(tell=lambda **_fields: False)
        self.read_settings: Callable[[], Settings] | None = None
        self._scheduler = scheduler
        self._service = service
        self._news = news
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        if not self.started:
            return
        self._begin(collect())
        self.manager.tell(READY=1, STATUS=self._status())
        if self.manager.watchdog_s is not None:
            self._begin(self._tell_watchdog(self.manager.watchdog_s / 3))
        if (read := self.read_settings) is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self._begin(self._reload(read)))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self.manager.tell(STOPPING=1, STATUS="stopping")
        self._news.close()
        super().handle_exit(sig, frame)

    def _status(self) -> str:
        hosts = len(self._scheduler.cloud.hosts())
        return f"serving on {self.config.host}, port {self.config.port}; {hosts} hosts"

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself remembers no task
        task.add_done_callback(self._tasks.discard)

    async def _tell_watchdog(self, every_s: float) -> None:
        """Alive is who answers calls and decides: the loop turns, a thread is to be had, and so is the one lock."""
        while True:
            await asyncio.to_thread(_wait_for_turn, self._scheduler)
            self.manager.tell(WATCHDOG=1, STATUS=self._status())
            await asyncio.sleep(every_s)

    async def _reload(self, read_settings: Callable[[], Settings]) -> None:
        """Other filters, weighers and limits, and the certificate that is in its file now."""
        self.manager.tell_reloading()
        try:
            settings = read_settings()
            await asyncio.to_thread(self._scheduler.change_settings, settings.scheduling)
            if self.config.ssl is not None and settings.scheduler.tls_certificate is not None:
                self.config.ssl.load_cert_chain(settings.scheduler.tls_certificate, settings.scheduler.tls_key)
        except (CellwrightError, OSError) as why:
            LOG.error("settings not read again: %s", why)
        else:
            LOG.warning("settings read again")
            if waiting := changed_keys(self._service, settings.scheduler):
                LOG.warning("[scheduler] %s: changed at the next start", ", ".join(waiting))
        self.manager.tell(READY=1, STATUS=self._status())


def changed_keys(before: Service, after: Service) -> list[str]:
    """The keys of ``[scheduler]`` that differ and are not read again."""
    keys = (key for key in Service.__struct_fields__ if not key.startswith("tls_"))
    return [key for key in keys if getattr(before, key) != getattr(after, key)]


def _wait_for_turn(scheduler: Scheduler) -> None:
    with scheduler.lock:
        return
