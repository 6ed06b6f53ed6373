"""Who is calling, and whether he may.  A wrong or missing token is 401 without a reason; a wrong role is 403."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from agent.scheduler.service import Scheduler
from agent.scheduler.store import tokens
from agent.scheduler.store.database import transaction


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
        caller = state.callers.known(token)
        if caller is None:
            caller = await asyncio.to_thread(state.callers.find, token)
        if caller is None:
            raise NotAuthorizedException
        return AuthenticationResult(user=caller, auth=None)


class Callers:
    """Whom tokens stand for, remembered until the catalogue changes: that is when tokens end, too."""

    MOST = 100_000

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._number = -1
        self._kept: dict[str, Caller] = {}

    def known(self, token: str) -> Caller | None:
        """Whom a token stands for, if it was asked before; the database is not."""
        if self._number != self._scheduler.catalogue_number or len(self._kept) >= self.MOST:
            self._number, self._kept = self._scheduler.catalogue_number, {}
        return self._kept.get(tokens.digest(token))

    def find(self, token: str) -> Caller | None:
        """Whom a token stands for, from the database."""
        number = self._scheduler.catalogue_number
        with transaction(self._scheduler.engine) as connection:
            found = tokens.find_token(connection, token)
        if found is None:
            return None
        if number == self._number:
            self._kept[tokens.digest(token)] = Caller(*found)
        return Caller(*found)


def readers(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Operators and readers."""
    if connection.user.role not in ("operator", "reader"):
        raise PermissionDeniedException("this call is for operators and readers")


def operators(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Operators only."""
    if connection.user.role != "operator":
        raise PermissionDeniedException("this call is for operators")


def speaks_for(caller: Caller, host: str) -> bool:
    """Whether somebody may report for a host."""
    return bool(caller.role == "operator" or (caller.role == "host" and caller.name == host))


def own_host(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The agent of the host in the path, and operators."""
    if not speaks_for(connection.user, str(connection.path_params.get("host"))):
        raise PermissionDeniedException("a host's token speaks for that host only")
