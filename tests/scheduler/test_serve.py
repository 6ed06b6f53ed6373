"""A scheduler that cannot serve says why in one error, and has written nothing."""

import asyncio
import socket
from pathlib import Path

import pytest
import uvloop
from msgspec.structs import replace

from agent.core.errors import BadInput, CellwrightError
from agent.scheduler.serve import TAKEN_A_TURN, build, opened_often, serve
from agent.settings.document import Settings
from agent.settings.scheduling import Service


def settings(folder: Path, **other: str) -> Settings:
    service = Service(
        listen="127.0.0.1:0", database=f"sqlite:///{folder}/made/scheduler.db", token_file=f"{folder}/made/token"
    )
    return Settings(scheduler=replace(service, **other))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CellwrightError, match=f"^the scheduler cannot listen on {listen}: Address already in use"):
            serve(lambda: settings(tmp_path, listen=listen))
    assert not (tmp_path / "made").exists()


def test_the_token_file_is_for_its_owner_alone_whatever_was_there(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    old = tmp_path / "made/token"
    old.write_text("of a scheduler before\n")
    old.chmod(0o644)
    build(settings(tmp_path))
    assert old.stat().st_mode & 0o777 == 0o600
    assert "before" not in old.read_text()


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(CellwrightError, match=r"^the scheduler cannot listen on 192\.0\.2\.1:1: Cannot assign"):
        serve(lambda: settings(tmp_path, listen="192.0.2.1:1"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database\n" * 100)
    with pytest.raises(BadInput, match=r"notes\.db: file is not a database$"):
        serve(lambda: settings(tmp_path, database=f"sqlite:///{tmp_path}/notes.db"))


@pytest.mark.parametrize("content", [None, "no PEM\n"])
def test_a_certificate_that_is_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tls.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadInput, match=f"^tls_certificate {file} and tls_key {file}: "):
        serve(lambda: settings(tmp_path, tls_certificate=str(file), tls_key=str(file)))


def test_a_key_without_its_certificate(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^tls_key key\.pem without tls_certificate"):
        serve(lambda: settings(tmp_path, tls_key="key.pem"))


def test_many_who_connect_at_once_are_taken_many_a_turn() -> None:
    """uvloop takes one connection a turn from each file, however many wait."""
    waiting, made = 8 * TAKEN_A_TURN, []

    class Taken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async def turns_until_all_are_taken(listener: socket.socket) -> int:
        loop, turns = asyncio.get_running_loop(), 0
        servers = [await loop.create_server(Taken, sock=one, backlog=waiting) for one in opened_often(listener)]
        clients = [socket.create_connection(listener.getsockname()) for _ in range(waiting)]
        while len(made) < waiting:
            await asyncio.sleep(0)
            turns += 1
        for one in [*made, *clients, *servers]:
            one.close()
        return turns

    with socket.socket() as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener.bind(("127.0.0.1", 0))
        assert runner.run(turns_until_all_are_taken(listener)) < waiting / 2
