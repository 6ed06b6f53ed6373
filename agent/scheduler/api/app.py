"""The application: routes, errors, OpenAPI, metrics, and the background work that keeps the scheduler honest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig

from agent import __version__
from agent.core.errors import BadInput, CellwrightError, QuotaExceeded, Unreachable
from agent.scheduler.api.agents import Agents
from agent.scheduler.api.auth import Callers, TokenMiddleware
from agent.scheduler.api.instances import Instances
from agent.scheduler.api.operate import Aggregates, Flavors, Groups, Hosts, Projects
from agent.scheduler.follow import Follower
from agent.scheduler.metrics import render_metrics
from agent.scheduler.news import News
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import ClaimLost
from agent.scheduler.store.tokens import count_tokens
from agent.settings.scheduling import Service

LOG = logging.getLogger("cellwright.scheduler")
EXPIRE_EVERY_S = 5.0
OPEN_PATHS = ["/healthz", "/readyz", "/schema"]


def create_app(scheduler: Scheduler, service: Service, *, news: News, insecure_loopback: bool = False) -> Litestar:
    """The API over one scheduler."""
    return Litestar(
        route_handlers=[
            Hosts,
            Aggregates,
            Flavors,
            Groups,
            Projects,
            Instances,
            Agents,
            healthz,
            readyz,
            metrics,
        ],
        state=State(
            {
                "scheduler": scheduler,
                "service": service,
                "news": news,
                "callers": Callers(scheduler),
                "insecure_loopback": insecure_loopback,
            }
        ),
        middleware=[DefineMiddleware(TokenMiddleware, exclude=OPEN_PATHS)],
        exception_handlers={
            CellwrightError: _answer_error,
            ClaimLost: _answer_race,
            HTTPException: _answer_http,
            Exception: _answer_bug,
        },
        lifespan=[_background],
        request_max_body_size=service.largest_body_bytes,
        openapi_config=OpenAPIConfig(title="Cellwright scheduler", version=__version__, path="/schema"),
        logging_config=None,
        debug=False,
    )


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok", "version": __version__}


@get("/readyz", sync_to_thread=True)
def readyz(state: State) -> dict[str, object]:
    """The process can decide: its database answers."""
    with transaction(state.scheduler.engine) as connection:
        count_tokens(connection)
    return {"status": "ok", "hosts": len(state.scheduler.cloud.hosts())}


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8", sync_to_thread=True)
def metrics(state: State) -> str:
    """Prometheus' text."""
    return render_metrics(state.scheduler)


@contextlib.asynccontextmanager
async def _background(app: Litestar) -> AsyncIterator[None]:
    app.state.news.bind(asyncio.get_running_loop())
    task = asyncio.create_task(_expire(app))
    follower = Follower(app.state.scheduler)
    follower.start()
    try:
        yield
    finally:
        follower.stop()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _expire(app: Litestar) -> None:
    while True:
        await asyncio.sleep(EXPIRE_EVERY_S)
        try:
            await asyncio.to_thread(app.state.scheduler.expire)
        except CellwrightError as why:
            LOG.warning("claims were not looked at: %s", why)


def _answer_error(request: Request[Any, Any, Any], why: CellwrightError) -> Response[dict[str, object]]:
    status = 400
    if isinstance(why, Unreachable):
        status = 503
    elif isinstance(why, QuotaExceeded):
        status = 403
    elif isinstance(why, BadInput) and str(why).endswith("is not known"):
        status = 404
    return Response({"error": str(why), "exit_code": why.exit_code}, status_code=status)


def _answer_race(request: Request[Any, Any, Any], why: ClaimLost) -> Response[dict[str, object]]:
    said = "another scheduler changed the same things at the same time; try again"
    return Response({"error": said, "exit_code": Unreachable.exit_code}, status_code=503)


def _answer_http(request: Request[Any, Any, Any], why: HTTPException) -> Response[dict[str, object]]:
    said = "" if why.status_code == 401 else why.detail
    if why.extra:
        said += ": " + msgspec.json.encode(why.extra).decode()
    return Response({"error": said, "exit_code": 2}, status_code=why.status_code, headers=why.headers)


def _answer_bug(request: Request[Any, Any, Any], why: Exception) -> Response[dict[str, object]]:
    LOG.error("a call failed: %s %s", request.method, request.url.path, exc_info=why)
    return Response({"error": "the scheduler failed on this call; its log says why", "exit_code": 1}, status_code=500)
