"""Reports that say nothing new, answered in front of everything else: most of what ten thousand agents send.

An agent sends the same bytes until something changes.  What is more than that (another report, an unknown token, a
scheduler that is busy) goes on to the application as if this were not here.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar

from agent.core.codec import encode
from agent.core.wire import ReportAnswer
from agent.scheduler.api.auth import LOOPBACK, speaks_for

BEFORE, AFTER = "/v1/agents/", "/report"


class Heartbeats:
    """An ASGI application around the scheduler's."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        answer = encode(ReportAnswer(interval_s=app.state.service.report_interval_s))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        self._start = {"type": "http.response.start", "status": 200, "headers": headers}
        self._answer = {"type": "http.response.body", "body": answer}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or let the application do so."""
        host = _reported(scope)
        if host is None or not self._may(scope, host):
            await self._app(scope, receive, send)
            return
        message = await receive()
        if not message.get("more_body") and self._app.state.scheduler.heard_again(host, message.get("body", b"")):
            await send(self._start)
            await send(self._answer)
            return
        waiting = [message]

        async def receive_again() -> Any:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, receive_again, send)

    def _may(self, scope: Any, host: str) -> bool:
        state = self._app.state
        if state.insecure_loopback:
            return speaks_for(LOOPBACK, host)
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.decode("latin-1").partition(" ")
        caller = state.callers.known(token) if scheme.lower() == "bearer" else None
        return caller is not None and speaks_for(caller, host)


def _reported(scope: Any) -> str | None:
    """The host that a call reports for; None for every other call."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path: str = scope["path"]
    if not path.startswith(BEFORE) or not path.endswith(AFTER):
        return None
    host = path[len(BEFORE) : -len(AFTER)]
    return host if host and "/" not in host else None
