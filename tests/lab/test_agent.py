"""The packaged agent under systemd on two cells: it starts, says how it goes, and comes back from a freeze."""

import time
from collections.abc import Iterator

import pytest

from tests.lab.machine import Machine

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

DROP_IN = "/etc/systemd/system/cellwright-agent.service.d/lab.conf"


@pytest.fixture(scope="module")
def agent(lab: Machine) -> Iterator[Machine]:
    """The unit as it is packaged, with a watchdog that a test can wait for."""
    lab.shell("cp /opt/cellwright/systemd/cellwright-* /etc/systemd/system/")
    lab.write(DROP_IN, "[Service]\nWatchdogSec=20s\n")
    lab.shell("systemctl daemon-reload && systemctl start cellwright-agent", timeout_s=180)
    yield lab
    lab.shell("systemctl stop cellwright-agent; rm -r /etc/systemd/system/cellwright-* && systemctl daemon-reload")


def show(lab: Machine, key: str) -> str:
    return lab.run("systemctl", "show", "-P", key, "cellwright-agent").stdout.strip()


def test_it_runs_and_its_status_makes_sense(agent: Machine) -> None:
    assert show(agent, "ActiveState") == "active"
    said = agent.run("systemctl", "status", "cellwright-agent").stdout
    assert "0 guests, 0 of them the scheduler's" in said
    assert "does not answer" in said  # there is no scheduler here, and the agent lives on


def test_the_journal_has_priorities(agent: Machine) -> None:
    lines = agent.run("journalctl", "-u", "cellwright-agent", "-p", "notice", "-o", "cat").stdout
    assert "does not answer" in lines
    assert "<5>" not in lines


def test_a_frozen_agent_is_killed_and_started_again(agent: Machine) -> None:
    pid = show(agent, "MainPID")
    agent.run("kill", "-STOP", pid)
    until = time.monotonic() + 240
    while (now := show(agent, "MainPID")) in (pid, "0") or show(agent, "ActiveState") != "active":
        assert time.monotonic() < until, agent.run("systemctl", "status", "cellwright-agent", status=None).stdout
        time.sleep(2)
    assert now != pid
    assert show(agent, "NRestarts") == "1"


def test_stopping_it_is_clean(agent: Machine) -> None:
    agent.run("systemctl", "stop", "cellwright-agent", timeout_s=60)
    assert show(agent, "Result") == "success"
    assert "guests run on" in agent.run("journalctl", "-u", "cellwright-agent", "-o", "cat").stdout
