"""The packaged scheduler under systemd: with no more rights than its unit leaves it, it serves, reloads and ends."""

from collections.abc import Iterator

import pytest

from tests.lab.machine import Machine

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

UNIT = "cellwright-scheduler"
DROP_IN = f"/etc/systemd/system/{UNIT}.service.d/lab.conf"
"""A start may take its time: under emulation imports alone take half a minute."""
TOKEN = "/var/lib/cellwright-scheduler/operator.token"
HOST = ("add", "osdev-01", "--synthetic", "socket:2 core:4 thread:2 memory:8GiB")


@pytest.fixture(scope="module")
def scheduler(lab: Machine) -> Iterator[Machine]:
    """What an administrator does; the unit is ready when its start returns."""
    lab.add_scheduler()
    lab.shell("systemd-sysusers cellwright.conf && systemd-tmpfiles --create cellwright.conf")
    lab.write(DROP_IN, "[Service]\nTimeoutStartSec=infinity\n")
    lab.run("systemctl", "daemon-reload")
    started = lab.run("systemctl", "start", UNIT, status=None)
    assert started.status == 0, lab.run("journalctl", "-u", UNIT, "-o", "cat").stdout
    yield lab
    lab.shell(f"systemctl stop {UNIT}; rm -rf /var/lib/cellwright-scheduler {DROP_IN}")
    lab.shell("systemctl daemon-reload; systemctl reset-failed")


def show(lab: Machine, key: str) -> str:
    return lab.run("systemctl", "show", "-P", key, UNIT).stdout.strip()


def ask(lab: Machine, *words: str) -> str:
    """A cluster verb, with the token that the scheduler wrote for its first operator."""
    return lab.run("cellwright", *words, env={"CELLWRIGHT_TOKEN": lab.read(TOKEN).strip()}).stdout


def test_it_serves_as_a_user_without_rights(scheduler: Machine) -> None:
    assert (show(scheduler, "ActiveState"), show(scheduler, "User")) == ("active", "cellwright")
    pid = show(scheduler, "MainPID")
    assert "CapEff:\t0000000000000000" in scheduler.read(f"/proc/{pid}/status")
    assert scheduler.run("stat", "-c", "%U %a", TOKEN).stdout.split() == ["cellwright", "600"]
    refused = scheduler.run("cellwright", "host", "list", env={"CELLWRIGHT_TOKEN": "wrong"}, status=None)
    assert refused.status not in (0, 5), refused
    assert "Traceback" not in refused.stderr


def test_a_host_and_a_claim_outlive_its_restart(scheduler: Machine) -> None:
    """Reloading keeps the process; a restart finds in the database what the first one was told."""
    ask(scheduler, "host", *HOST)
    ask(scheduler, "flavor", "create", "--vcpus", "4", "--ram", "512", "--property", "hw:cpu_policy=dedicated", "pair")
    assert "osdev-01" in ask(scheduler, "instance", "create", "--flavor", "pair", "db")
    before = show(scheduler, "MainPID")
    scheduler.run("systemctl", "reload", UNIT)
    assert show(scheduler, "MainPID") == before
    scheduler.run("systemctl", "restart", UNIT)
    assert show(scheduler, "MainPID") != before
    assert ask(scheduler, "instance", "list", "-f", "value", "-c", "name", "-c", "status") == "db SCHEDULED\n"
    assert "4/16" in ask(scheduler, "host", "list", "-f", "value")


def test_it_ends_in_order(scheduler: Machine) -> None:
    scheduler.run("systemctl", "stop", UNIT)
    assert (show(scheduler, "Result"), show(scheduler, "NRestarts")) == ("success", "0")
    lines = scheduler.run("journalctl", "-u", UNIT, "-o", "cat", "-p", "err").stdout
    assert lines == ""
