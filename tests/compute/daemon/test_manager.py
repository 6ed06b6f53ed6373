"""What the service manager hears: ready, alive, reloading, stopping; and standalone, where both halves are one."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

import pytest

from agent.compute.client import Client, path_of
from agent.core.notify import notify
from tests.compute.daemon.running import LIMIT_S, domain_state, wait_for, wait_status
from tests.compute.daemon.test_agent import Agents, Names, give
from tests.scheduler.conftest import Service, find_port


class Listener:
    """A service manager's end of the socket.  As systemd it always reads: who writes to a full socket stands still."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.heard: SimpleQueue[dict[str, str]] = SimpleQueue()
        self.alive_s: list[float] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self.socket.recv(4096):
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            if "WATCHDOG" in fields:
                self.alive_s.append(time.monotonic())
            self.heard.put(fields)

    def fields(self) -> dict[str, str]:
        return self.heard.get(timeout=LIMIT_S)

    def until(self, key: str) -> dict[str, str]:
        while key not in (fields := self.fields()):
            pass
        return fields

    def is_told_within(self, limit_s: float) -> bool:
        """Whether it was told twice, no longer apart than this, that the service is alive."""
        return any(later - earlier <= limit_s for earlier, later in pairwise(self.alive_s))

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RD)
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(tmp_path)
    yield made
    made.close()


def test_notify_is_one_datagram_and_never_fails(manager: Listener) -> None:
    assert notify(manager.path, READY=1, STATUS="two\nlines")
    assert manager.fields() == {"READY": "1", "STATUS": "two lines"}
    for nobody in (None, "", "relative", manager.path + "-gone", "@abstract-nobody"):
        assert not notify(nobody, READY=1)


def test_the_agent_tells_its_manager(agents: Agents, manager: Listener) -> None:
    agent = agents()
    agent.start(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="900000")
    assert "guests" in manager.until("READY")["STATUS"]
    wait_for("the watchdog is told in its time", lambda: manager.is_told_within(0.9))
    agent.config.write_text(agent.config.read_text() + "\n# a comment\n")
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)
    assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
    manager.until("READY")
    agent.config.write_text("[agent]\nno_such_key = 1\n")
    agent.process.send_signal(signal.SIGHUP)
    manager.until("RELOADING")
    manager.until("READY")
    assert "no_such_key" in agent.log()
    assert "the old ones stand" in agent.log()
    agent.process.terminate()
    assert "guests run on" in manager.until("STOPPING")["STATUS"]
    assert agent.process.wait(LIMIT_S) == 0


def test_the_scheduler_tells_its_manager(tmp_path: Path, manager: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "900000")
    service = Service(tmp_path, config="[scheduling]\n")
    service.start()
    assert service.process is not None
    try:
        assert f"port {service.port}" in manager.until("READY")["STATUS"]
        wait_for("the watchdog is told in its time", lambda: manager.is_told_within(0.9))
        service.json("host", "add", "kvm-1", "--synthetic", "cell:1 core:4 memory:8GiB")
        assert decided(service) == "SCHEDULED"
        text = '[scheduling]\nfilters = ["IsolatedHosts"]\nisolated_hosts = ["kvm-1"]\n[scheduler]\nregion = "other"\n'
        (tmp_path / "cellwright.toml").write_text(text)
        service.process.send_signal(signal.SIGHUP)
        assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
        manager.until("READY")
        assert decided(service) == "ERROR"
        (tmp_path / "cellwright.toml").write_text('[scheduling]\nfilters = ["Nonsense"]\n')
        service.process.send_signal(signal.SIGHUP)
        manager.until("RELOADING")
        manager.until("READY")
        assert decided(service) == "ERROR"
        log = (tmp_path / "log").read_text()
        assert "[scheduler] region: changed at the next start" in log
        assert "settings not read again" in log
        assert "Nonsense" in log
    finally:
        service.stop()
    manager.until("STOPPING")


def decided(service: Service) -> str:
    """What becomes of an instance now."""
    request = {"name": "one", "flavor": {"name": "f", "vcpus": 1, "ram_mb": 64}}
    made = Client(service.url, service.token).call("POST", path_of("instances"), request)[0]
    return str(made["status"])


def test_lines_for_the_journal_have_a_priority(agents: Agents) -> None:
    agent = agents()
    (agent.folder / "agent.token").write_text("nonsense")
    agent.start(JOURNAL_STREAM="1:2")
    wait_for("the error has its priority", lambda: "<3>report: " in agent.log())
    agent.stop()
    assert all(line.startswith("<") for line in agent.log().splitlines())


def test_metrics_as_a_file_and_over_http(agents: Agents, tmp_path: Path) -> None:
    port = find_port()
    file = tmp_path / "cellwright.prom"
    agent = agents(more=f'textfile = "{file}"\nmetrics_listen = "127.0.0.1:{port}"')
    agent.start()
    wait_for("the file is written", file.is_file)
    assert "cellwright_free_pcpus{" in file.read_text()
    asked = subprocess.run(
        ["curl", "-sf", f"http://127.0.0.1:{port}/metrics"], capture_output=True, text=True, check=True
    )
    assert "cellwright_report_age_seconds" in asked.stdout
    assert subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/"], check=False).returncode == 22


def test_standalone_is_both(tmp_path: Path, libvirt_uri: str, names: Names) -> None:
    service = Service(tmp_path)
    config = tmp_path / "c.toml"
    config.write_text('[host]\ncpu_allocation_ratio = 1000\n[agent]\ntemplate = "tiny"\nvirt_type = "qemu"\n')
    command = [sys.executable, "-m", "agent", "standalone", "--config", str(config), "--state-dir", str(tmp_path / "s")]
    command += ["--listen", f"127.0.0.1:{service.port}", "--database", service.database]
    command += ["--operator-token-file", str(service.token_file)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for("the token is there", lambda: service.token_file.is_file() and service.token_file.read_text())
        service.token = service.token_file.read_text().strip()
        wait_for("the scheduler listens", lambda: service.run("host", "list").returncode == 0)
        wait_for("the host is up", lambda: any(row["state"] == "up" for row in service.json("host", "list")))
        name = names("alone")
        assert service.run("flavor", "create", "float", "--vcpus", "1", "--ram", "64").returncode == 0
        give(service, name)
        wait_status(service, name, "ACTIVE")
        process.terminate()
        assert process.wait(LIMIT_S) == 0, (tmp_path / "log").read_text()
        said = (tmp_path / "log").read_text()
        assert f'"name":"{name}"' in said.partition("cellwright.scheduler: decision ")[2]
        assert domain_state(name) == "running"
    finally:
        process.kill()
