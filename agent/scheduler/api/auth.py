"""Who is calling, and whether he may.  A wrong or missing token is 401 without a reason; a wrong role is 403."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from agent.scheduler.store import tokens
from agent.scheduler.store.database import Engine, transaction


class Caller(msgspec.Struct, frozen=True):
    """The role and name that a token stands for."""

    role: str
    name: str


LOOPBACK = Caller("operator", "loopback")
"""Everybody, on a scheduler that serves a loopback address without tokens."""


class TokenMiddleware(AbstractAuthenticationMiddleware):
    """Reads ``Authorization: Bearer TOKEN`` and looks the token up."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """The Caller, or 401."""
        state = connection.app.state
        if state.insecure_loopback:
            return AuthenticationResult(user=LOOPBACK, auth=None)
        scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthorizedException
        caller = await asyncio.to_thread(find_caller, state.scheduler.engine, token)
        if caller is None:
            raise NotAuthorizedException
        return AuthenticationResult(user=caller, auth=None)


def find_caller(engine: Engine, token: str) -> Caller | None:
    """Whom a token stands for."""
    with transaction(engine) as connection:
        found = tokens.find_token(connection, token)
    return None if found is None else Caller(*found)


def readers(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Operators and readers."""
    if connection.user.role not in ("operator", "reader"):
        raise PermissionDeniedException("this call is for operators and readers")


def operators(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Operators only."""
    if connection.user.role != "operator":
        raise PermissionDeniedException("this call is for operators")


def own_host(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The agent of the host in the path, and operators."""
    caller = connection.user
    host = connection.path_params.get("host")
    if caller.role != "operator" and (caller.role != "host" or caller.name != host):
        raise PermissionDeniedException("a host's token speaks for that host only")
