"""The application: routes, errors, OpenAPI, metrics, and the background work that keeps the scheduler honest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from litestar import Litestar, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi.datastructures import ResponseSpec

from agent import __version__
from agent.core.codec import from_builtin
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.scheduler.api.agents import Agents
from agent.scheduler.api.auth import Callers, TokenMiddleware, readers
from agent.scheduler.api.instances import Instances
from agent.scheduler.api.openapi import OPEN_PATHS, Documents, describe, describe_refusals, is_cpu_set
from agent.scheduler.api.operate import Aggregates, Flavors, Groups, Hosts, Projects
from agent.scheduler.api.refusals import Call, Refusal, answer_bug, answer_error, answer_http, answer_race
from agent.scheduler.follow import Follower
from agent.scheduler.metrics import render_metrics
from agent.scheduler.news import News
from agent.scheduler.service import Scheduler
from agent.scheduler.store.checkpoints import checkpoints
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import ClaimLost
from agent.scheduler.store.tokens import count_tokens
from agent.settings.scheduling import Service

LOG = logging.getLogger("cellwright.scheduler")
EXPIRE_EVERY_S = 5.0
NOT_READY = ResponseSpec(data_container=Refusal, description="The database does not answer.")


def create_app(scheduler: Scheduler, service: Service, *, news: News, insecure_loopback: bool = False) -> Litestar:
    """The API over one scheduler."""
    app = Litestar(
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
        middleware=[DefineMiddleware(TokenMiddleware, exclude=list(OPEN_PATHS), exclude_http_methods=())],
        exception_handlers={
            CellwrightError: answer_error,
            ClaimLost: answer_race,
            HTTPException: answer_http,
            Exception: answer_bug,
        },
        lifespan=[_background],
        request_class=Call,
        request_max_body_size=service.largest_body_bytes,
        type_encoders={CpuSet: str},
        type_decoders=[(is_cpu_set, from_builtin)],
        plugins=[Documents()],
        openapi_config=describe(with_tokens=not insecure_loopback),
        logging_config=None,
        debug=False,
    )
    describe_refusals(app)
    return app


@get("/healthz", sync_to_thread=False, security=[{}])
def healthz() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok", "version": __version__}


@get("/readyz", sync_to_thread=True, security=[{}], responses={503: NOT_READY})
def readyz(state: State) -> dict[str, object]:
    """The process can decide: its database answers."""
    with transaction(state.scheduler.engine) as connection:
        count_tokens(connection)
    return {"status": "ok", "hosts": len(state.scheduler.cloud.hosts())}


@get("/metrics", guards=[readers], media_type="text/plain; version=0.0.4; charset=utf-8", sync_to_thread=True)
def metrics(state: State) -> str:
    """Prometheus' text, for operators and readers."""
    return render_metrics(state.scheduler)


@contextlib.asynccontextmanager
async def _background(app: Litestar) -> AsyncIterator[None]:
    app.state.news.bind(asyncio.get_running_loop())
    task = asyncio.create_task(_expire(app))
    follower = Follower(app.state.scheduler)
    follower.start()
    try:
        with checkpoints(app.state.scheduler.engine):
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
        except (CellwrightError, ClaimLost) as why:
            LOG.warning("claims were not looked at: %s", why or "others changed them at the same time")
        except Exception:  # a fault of ours must not end this for good
            LOG.exception("claims were not looked at")
