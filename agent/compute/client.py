"""Talking to the scheduler: JSON over HTTP, our errors out."""

from __future__ import annotations

import json
import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import SplitResult, quote

from agent.core.address import parse_http
from agent.core.errors import BadInput, CellwrightError, DoesNotFit, Unreachable

DEFAULT_ADDRESS = "http://127.0.0.1:8774"
LARGEST_ANSWER = 256 << 20


class Client:
    """One scheduler, by address and token.  A redirection to another region's scheduler is followed once.

    The token goes along: schedulers redirect only to the peers of their configuration.

    ``ca_file`` names the authority for https addresses; the system's are used without it.  With ``keep`` each thread
    keeps its connection, and a call on one that the other end dropped is made again: for calls that may be made twice.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        ca_file: str | None = None,
        timeout_s: float = 30.0,
        keep: bool = False,
    ) -> None:
        self._at = parse_http(address, what="scheduler address")
        self._token = _check_token(token)
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._kept = threading.local() if keep else None

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None) -> Any:
        """The decoded answer, None when it is empty.

        Unreachable when nobody answers; what the scheduler refuses is raised as it says, with its exit code.
        """
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        asked = self._at
        status, headers, answer = self._send(asked, method, path, data, timeout_s)
        if status in (307, 308) and "location" in headers:
            asked = parse_http(headers["location"], what="scheduler address")
            status, headers, answer = self._send(asked, method, asked.path, data, timeout_s)
        if status >= 300:
            raise _refusal(status, answer, asked.netloc)
        try:
            return json.loads(answer) if answer else None
        except ValueError as why:
            raise Unreachable(f"{asked.scheme}://{asked.netloc} answers, and is no scheduler: {why}") from why

    def _send(
        self, at: SplitResult, method: str, path: str, data: bytes | None, timeout_s: float | None
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection, used = self._connection(at, timeout_s or self._timeout_s)
        try:
            try:
                return _exchange(connection, method, path, data, headers)
            except ConnectionError:
                if not used:
                    raise
                connection.close()  # the other end may drop an idle connection; what is new begins with a new one
                return _exchange(connection, method, path, data, headers)
        except (OSError, HTTPException) as why:
            connection.close()
            where = f"scheduler {at.scheme}://{at.netloc}"
            raise Unreachable(f"{where} does not answer: {why}; {_advice(why)}") from why
        finally:
            if self._kept is None:
                connection.close()

    def _connection(self, at: SplitResult, timeout_s: float) -> tuple[HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        if self._kept is None:
            return self._connect(at, timeout_s), False
        kept: dict[str, HTTPConnection] = self._kept.__dict__.setdefault("by_address", {})
        connection = kept.get(at.netloc)
        if connection is None:
            connection = kept[at.netloc] = self._connect(at, timeout_s)
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection, connection.sock is not None

    def _connect(self, at: SplitResult, timeout_s: float) -> HTTPConnection:
        if at.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=self._ca_file)
            except OSError as why:
                raise BadInput(f"CA file {self._ca_file}: {why}; allowed: a readable file of certificates") from why
            return HTTPSConnection(at.hostname or "", at.port, timeout=timeout_s, context=context)
        return HTTPConnection(at.hostname or "", at.port, timeout=timeout_s)


def _advice(why: Exception) -> str:
    """What helps where a scheduler does not answer, as far as that can be known."""
    if isinstance(why, ssl.SSLCertVerificationError):
        return "name the authority that signed its certificate with --ca-file"
    if isinstance(why, ssl.SSLError):
        return "one that has no certificate is asked by http"
    if isinstance(why, RemoteDisconnected):
        return "one that has a certificate is asked by https"
    return "start one with: cellwright scheduler"


def _exchange(
    connection: HTTPConnection, method: str, path: str, data: bytes | None, headers: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, path, body=data, headers=headers)
    response = connection.getresponse()
    answer = response.read(LARGEST_ANSWER)
    if response.length:  # the other end died between its headers and the end of its answer
        raise IncompleteRead(answer, response.length)
    return response.status, {name.lower(): value for name, value in response.getheaders()}, answer


def path_of(*parts: str) -> str:
    """A path under /v1 out of names as a user gives them; BadInput for what is the name of nothing."""
    for part in parts:
        if not part or "/" in part or not part.isprintable():
            raise BadInput(f"{part!r} is not known: it is no name")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _check_token(token: str | None) -> str | None:
    """The token as it is; BadInput, which does not show it, when an HTTP header cannot carry it."""
    if token and not (token.isascii() and token.isprintable()):
        raise BadInput("the scheduler's token has characters that no token has; allowed: printable ASCII")
    return token


def _refusal(status: int, answer: bytes, where: str) -> CellwrightError:
    try:
        tree = json.loads(answer)
        said, code = str(tree["error"]), int(tree["exit_code"])
    except (ValueError, KeyError, TypeError):
        said, code = answer[:200].decode("utf-8", "replace"), 1
    if status == 401:
        said = f"scheduler {where} does not take this token; give the right one with --token or CELLWRIGHT_TOKEN"
    kinds = {kind.exit_code: kind for kind in (BadInput, DoesNotFit, Unreachable)}
    return kinds.get(code, CellwrightError)(said)
