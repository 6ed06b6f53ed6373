"""A PostgreSQL of the tests' own: a throw-away cluster on a unix socket in a temporary folder, never the system's."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

OWNER = "postgres"
QUICK = ("-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=60")
"""A killed postmaster loses nothing that the kernel has; only a power cut would want fsync."""


class Postgres:
    """One cluster; ``start`` and ``kill`` may follow each other as often as a test likes."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            pytest.fail("PostgreSQL is not installed; it comes with the Debian package: postgresql")
        self.programs = found[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="cellwright-pg-"))
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, OWNER, OWNER)
        words = ("-A", "trust", "-U", OWNER, "--no-sync", "-E", "UTF8", "--locale=C")
        self.run("initdb", "-D", str(self.folder / "data"), *words)

    def run(self, program: str, *words: str) -> str:
        """Run one of the programs as the cluster's owner; the answer is its output."""
        command = self._as_owner(program, *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def url(self, database: str) -> str:
        """The database's address for the scheduler."""
        return f"postgresql+psycopg://{OWNER}@/{database}?host={self.folder}"

    def create(self, database: str) -> str:
        """A new empty database; the answer is its address."""
        self.run("createdb", "-h", str(self.folder), "-U", OWNER, "-T", "template0", database)
        return self.url(database)

    def start(self) -> None:
        """Start, and wait until it answers; after a kill the old backends must be gone first."""
        for _ in range(100):
            with (self.folder / "log").open("ab") as log:
                command = self._as_owner("postgres", "-D", str(self.folder / "data"), "-k", str(self.folder), *QUICK)
                self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
            while self.process.poll() is None:
                ready = self._as_owner("pg_isready", "-q", "-h", str(self.folder), "-U", OWNER)
                if subprocess.run(ready, check=False).returncode == 0:
                    return
                time.sleep(0.05)
            time.sleep(0.1)
        pytest.fail(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End the postmaster as a crash would; its children, which answer until they notice, are waited for."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 120
        while any(map(_lives, children)):
            assert time.monotonic() < until, f"children of a killed postmaster live on: {children}"
            time.sleep(0.01)

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # whoever is connected still is not waited for
            self.process.wait(120)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_owner(self, program: str, *words: str) -> list[str]:
        command = [str(self.programs / program), *words]
        if os.geteuid() != 0:
            return command
        return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", *command]


def _lives(process: psutil.Process) -> bool:
    """Whether it is more than an entry in the table of a machine whose first process waits for nobody."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
