"""A scheduler service of its own on a free loopback port, and the command that talks to it."""

import itertools
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.compute.client import Client, path_of
from tests.postgres import Postgres

NUMBERS = itertools.count(1)


def find_port() -> int:
    """A free loopback port below those that the kernel gives to outgoing connections, which may take one any time."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Service:
    """A running ``cellwright scheduler`` and its operator's token."""

    def __init__(self, folder: Path, *, database: str | None = None, config: str = "") -> None:
        self.port = find_port()
        self.folder = folder
        self.database = database or f"sqlite:///{folder}/cellwright.db"
        self.token_file = folder / "operator.token"
        self.options: list[str] = []
        if config:
            (folder / "cellwright.toml").write_text(config)
            self.options = ["--config", str(folder / "cellwright.toml")]
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "agent", "scheduler", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--database", self.database, "--token-file", str(self.token_file)]
        command += self.options
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        if self.token_file.exists():
            self.token = self.token_file.read_text().strip()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, *, kill: bool = False) -> None:
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(60)

    def run(self, *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command with these words, its scheduler and token in the environment."""
        environment = {**os.environ, "CELLWRIGHT_SCHEDULER": self.url}
        environment["CELLWRIGHT_TOKEN"] = self.token if token is None else token
        command = [sys.executable, "-m", "agent", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def ask(self, *parts: str) -> Any:
        """What the API has there, without a command's start."""
        return Client(self.url, self.token).call("GET", path_of(*parts))

    def json(self, *words: str) -> Any:
        """The command's answer; it must end with 0, or 3 for what fits nowhere."""
        done = self.run(*words, "-f", "json")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running cluster of the tests' own."""
    made = Postgres()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def postgresql_url(postgres: Postgres) -> str:
    """The address of a new empty database on it."""
    return postgres.create(f"test{next(NUMBERS)}")


class Clock:
    """A scheduler's clock, which a test sets."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, one of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_url"))
    return f"sqlite:///{tmp_path}/cellwright.db"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("scheduler"))
    made.start()
    yield made
    made.stop()
