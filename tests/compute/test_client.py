"""The agent's connection to its scheduler: kept, and begun anew when the other end dropped it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.compute.client import Client
from agent.core.errors import BadInput, Unreachable


class Server(ThreadingHTTPServer):
    """Counts connections and calls; ``drops`` closes a connection when its answer is sent, without a word.

    ``keeps_back`` bytes of the answer are never sent.
    """

    daemon_threads = True
    connections = 0
    calls = 0
    drops = False
    says = b"{}"
    keeps_back = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.calls += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.says) + self.server.keeps_back))
        self.end_headers()
        self.wfile.write(self.server.says)
        self.close_connection = self.server.drops

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def client_of(server: Server, *, keep: bool) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", None, timeout_s=60, keep=keep)


@pytest.mark.parametrize(("keep", "connections"), [(True, 1), (False, 3)])
def test_a_kept_connection_serves_many_calls(server: Server, keep: bool, connections: int) -> None:
    client = client_of(server, keep=keep)
    assert [client.call("GET", "/x") for _ in range(3)] == [{}, {}, {}]
    assert (server.connections, server.calls) == (connections, 3)


def test_a_call_on_a_dropped_connection_is_made_again(server: Server) -> None:
    server.drops = True
    client = client_of(server, keep=True)
    assert [client.call("GET", "/x") for _ in range(3)] == [{}, {}, {}]
    assert (server.connections, server.calls) == (3, 3)


def test_each_thread_has_its_own(server: Server) -> None:
    client = client_of(server, keep=True)
    threads = [threading.Thread(target=client.call, args=("GET", "/x")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.connections, server.calls) == (3, 3)


def test_a_scheduler_that_is_gone_is_said_and_found_again() -> None:
    first = Server(("127.0.0.1", 0), Handler)
    first.drops = True
    threading.Thread(target=first.serve_forever, daemon=True).start()
    client = client_of(first, keep=True)
    assert client.call("GET", "/x") == {}
    first.shutdown()
    first.server_close()
    with pytest.raises(Unreachable, match="does not answer"):
        client.call("GET", "/x")
    again = Server(("127.0.0.1", first.server_port), Handler)
    threading.Thread(target=again.serve_forever, daemon=True).start()
    assert client.call("GET", "/x") == {}
    again.shutdown()
    again.server_close()


def test_a_server_that_is_no_scheduler_is_told_from_one(server: Server) -> None:
    server.says = b"<html>It works!</html>"
    with pytest.raises(Unreachable, match=r"^http://127.0.0.1:\d+ answers, and is no scheduler: "):
        client_of(server, keep=False).call("GET", "/x")


@pytest.mark.parametrize("says", [b"", b'{"host": "k'])
def test_an_answer_that_breaks_off_is_none(server: Server, says: bytes) -> None:
    server.says, server.keeps_back, server.drops = says, 5, True
    with pytest.raises(Unreachable, match=rf"does not answer: IncompleteRead\({len(says)} bytes read, 5 more expected"):
        client_of(server, keep=False).call("GET", "/x")


@pytest.mark.parametrize("token", ["two\nlines", "€uro"])
def test_a_token_that_no_header_carries_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(BadInput) as refused:
        Client("http://127.0.0.1:1", token)
    assert token not in str(refused.value)


@pytest.mark.parametrize("file", ["/absent", "/etc/hostname"])
def test_a_ca_file_that_cannot_be_used_is_named(file: str) -> None:
    with pytest.raises(BadInput, match=f"^CA file {file}: "):
        Client("https://127.0.0.1:1", None, ca_file=file).call("GET", "/x")


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://a b", "http://\udcff", f"http://{'x' * 64}.example", "http://h:x", "", "ftp://h"]
)
def test_an_address_that_nobody_can_have_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match=r"; allowed: http://HOST:PORT or https://HOST:PORT$"):
        Client(address, None)


@pytest.mark.parametrize("address", ["localhost", "http://[::1]:8774", "https://bücher.example:1", "10.0.0.1:8774"])
def test_an_address_that_somebody_may_have_is_taken(address: str) -> None:
    Client(address, None)
