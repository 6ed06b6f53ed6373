"""Metrics over HTTP for a Prometheus that scrapes the agent itself: GET /metrics, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent.core.address import parse_listen
from agent.core.errors import BadInput


def serve_metrics(listen: str, render: Callable[[], str], *, beat: Callable[[], object]) -> ThreadingHTTPServer:
    """Serve on ``ADDR:PORT`` from a thread of its own, which says ``beat`` twice a second.

    BadInput says what is wrong with the address.
    """
    address, port = parse_listen(listen, what="metrics_listen")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            body = (render() if found else "only /metrics is here\n").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line."""

    class Server(ThreadingHTTPServer):
        def service_actions(self) -> None:
            beat()

    try:
        server = Server((address, port), Handler)
    except OSError as why:
        raise BadInput(f"metrics_listen {listen}: {why.strerror}") from why
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
