"""Run the scheduler as a service: database, first token, application, server."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import msgspec
import uvicorn
from litestar import Litestar

from agent.core.address import parse_listen
from agent.core.errors import BadInput, CellwrightError
from agent.core.notify import manager_of
from agent.scheduler.api.app import create_app
from agent.scheduler.api.heads import BoundedHeads
from agent.scheduler.api.heartbeat import Heartbeats
from agent.scheduler.news import News
from agent.scheduler.server import Server
from agent.scheduler.service import Scheduler
from agent.scheduler.store import tokens
from agent.scheduler.store.database import open_database, shown, transaction
from agent.settings.document import Settings
from agent.settings.scheduling import check_service

LOG = logging.getLogger("cellwright.scheduler")
TAKEN_A_TURN = 16
"""How many new connections one turn of uvloop takes: one from each file that the socket is opened by.

With one file, the kernel's queue overflows when ten thousand agents come back at the same time.
"""
LONGEST_QUEUE = 65_535
"""Connections that may wait to be taken; the kernel allows net.core.somaxconn of them, 4,096 unless told otherwise."""
KEEP_ALIVE_S = 75
"""Longer than agents are silent: each keeps its connection, and a TLS handshake costs more than all it says."""


def build(settings: Settings, *, insecure_loopback: bool = False) -> Litestar:
    """The application over the configured database, with its first operator token made if there is none yet."""
    service = settings.scheduler
    check_service(service)
    address, _ = parse_listen(service.listen, what="listen address")
    if insecure_loopback and not _is_loopback(address):
        raise BadInput(f"--insecure-loopback serves loopback addresses only, not {address}")
    news = News()
    engine = open_database(service.database)
    if not insecure_loopback:
        with transaction(engine) as connection:
            if tokens.count_tokens(connection) == 0:
                made = secrets.token_urlsafe(32)
                tokens.save_token(connection, made, role="operator", subject="first")
                _write_secret(Path(service.token_file), made)
                LOG.warning("the first operator token is in %s", service.token_file)
    scheduler = Scheduler(
        engine,
        settings.scheduling,
        clock=time.time,
        new_id=lambda: str(uuid.uuid4()),
        changed=news.tell,
        claim_s=service.claim_s,
    )
    return create_app(scheduler, service, news=news, insecure_loopback=insecure_loopback)


def serve(read_settings: Callable[[], Settings], *, insecure_loopback: bool = False) -> int:
    """Serve until told to stop; the answer is the exit code.  On SIGHUP the settings are read again."""
    settings = read_settings()
    with _bind(settings.scheduler.listen) as listener:
        server = _server(settings, build(settings, insecure_loopback=insecure_loopback))
        server.manager, server.read_settings = manager_of(os.environ), read_settings
        _allow_connections()
        server.run(opened_often(listener))
    return 0 if server.started else 1


class Beside(msgspec.Struct, frozen=True):
    """A scheduler that serves in a thread of this process: its address, a token for one host, and how to end it."""

    url: str
    token: str
    stop: Callable[[], None]


def serve_beside(settings: Settings, *, host: str) -> Beside:
    """Serve from a thread, with a new token for ``host``; CellwrightError when it cannot listen."""
    listener = _bind(settings.scheduler.listen)
    app = build(settings)
    token = secrets.token_urlsafe(32)
    with transaction(app.state.scheduler.engine) as connection:
        tokens.save_token(connection, token, role="host", subject=host)
    server = _server(settings, app)
    thread = threading.Thread(target=server.run, args=([listener],), name="scheduler-service", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise CellwrightError(f"the scheduler on {settings.scheduler.listen} did not start")
        time.sleep(0.02)

    def stop() -> None:
        app.state.news.close()
        server.should_exit = True
        thread.join(10)

    scheme = "https" if settings.scheduler.tls_certificate else "http"
    return Beside(f"{scheme}://{settings.scheduler.listen}", token, stop)


def _bind(listen: str) -> socket.socket:
    """The socket, before anything is written: a second scheduler on one port leaves no token file and no database.

    Nobody can connect to it yet: who waits for the port finds a scheduler that serves.
    """
    address, port = parse_listen(listen, what="listen address")
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        return made
    except OSError as why:
        raise CellwrightError(f"the scheduler cannot listen on {listen}: {why.strerror}") from why


def opened_often(listener: socket.socket) -> list[socket.socket]:
    """A socket, and more files that it is opened by."""
    return [listener, *(listener.dup() for _ in range(TAKEN_A_TURN - 1))]


def _server(settings: Settings, app: Litestar) -> Server:
    service = settings.scheduler
    address, port = parse_listen(service.listen, what="listen address")
    config = uvicorn.Config(
        Heartbeats(app),
        http=BoundedHeads,
        host=address,
        port=port,
        ssl_certfile=service.tls_certificate,
        ssl_keyfile=service.tls_key,
        access_log=False,
        log_level="warning",
        server_header=False,
        backlog=LONGEST_QUEUE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
    )
    try:
        config.load()
    except OSError as why:
        files = f"tls_certificate {service.tls_certificate} and tls_key {service.tls_key}"
        raise BadInput(f"{files}: {why}; allowed: readable PEM files") from why
    LOG.warning("serving on %s, database %s", service.listen, shown(service.database))
    return Server(config, app.state.scheduler, service, app.state.news)


def _allow_connections() -> None:
    """As many open files as this process may have: every agent holds two connections, and 1,024 is the usual start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # forbidden by the service manager, which sets the limit itself
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whatever the umask, and whoever could read one that was there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text + "\n")
    except OSError as why:
        raise BadInput(f"token file {path}: {why.strerror}; allowed: a path that can be written") from why
