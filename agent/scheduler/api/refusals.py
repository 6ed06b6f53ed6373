"""What a refused call is answered: one line and an exit code, whatever went wrong."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from agent.core.codec import decode
from agent.core.errors import BadInput, CellwrightError, DoesNotFit, QuotaExceeded, Unreachable
from agent.scheduler.store.records import ClaimLost

LOG = logging.getLogger("cellwright.scheduler")


class Refusal(msgspec.Struct, frozen=True):
    """Why a call was refused, and the exit code that the command ends with then."""

    error: str
    exit_code: int


class Call(Request[Any, Any, Any]):
    """A call whose body is read as every other document is: what is wrong with it is said in the same words."""

    async def json(self) -> Any:
        """The document that the call takes; BadInput names what was found and what is allowed."""
        return decode(await self.body(), _wanted(self), source="the body")


def _wanted(call: Request[Any, Any, Any]) -> Any:
    """The type of the document that a call takes."""
    return call.route_handler.parsed_fn_signature.parameters["data"].annotation


def answer_error(request: Request[Any, Any, Any], why: CellwrightError) -> Response[Refusal]:
    """What we refuse ourselves."""
    status = 400
    if isinstance(why, Unreachable):
        status = 503
    elif isinstance(why, QuotaExceeded):
        status = 403
    elif isinstance(why, DoesNotFit):
        status = 409
    elif isinstance(why, BadInput) and str(why).endswith("is not known"):
        status = 404
    return _answer(status, str(why), why.exit_code)


def answer_race(request: Request[Any, Any, Any], why: ClaimLost) -> Response[Refusal]:
    """What another scheduler was first at, again and again."""
    said = "another scheduler changed the same things at the same time; try again"
    return _answer(503, said, Unreachable.exit_code)


def answer_http(request: Request[Any, Any, Any], why: HTTPException) -> Response[Refusal]:
    """What the server refuses before us.  A wrong token is not told why."""
    said = "" if why.status_code == 401 else why.detail
    if isinstance(why.extra, list):
        said += ": " + "; ".join(f"{wrong.get('key')}: {wrong.get('message')}" for wrong in why.extra)
        if any(wrong.get("key") == "data" for wrong in why.extra):  # a body of no bytes never comes to be read
            keys = ", ".join(field.encode_name for field in msgspec.structs.fields(_wanted(request)))
            said = f"the body: it is empty; allowed: a JSON document with {keys}"
    return _answer(why.status_code, said, BadInput.exit_code, why.headers)


def answer_bug(request: Request[Any, Any, Any], why: Exception) -> Response[Refusal]:
    """What should not happen."""
    LOG.error("a call failed: %s %s", request.method, request.url.path, exc_info=why)
    return _answer(500, "the scheduler failed on this call; its log says why", CellwrightError.exit_code)


def _answer(status: int, said: str, exit_code: int, headers: dict[str, str] | None = None) -> Response[Refusal]:
    return Response(Refusal(said, exit_code), status_code=status, headers=headers)
