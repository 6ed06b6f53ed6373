"""kill -9 in the middle of a change: afterwards the guest is as before, or as after, and the journal says which.

The command is killed when it is about to make each of its changes, so every step has been the last one once.  The next
verb that changes anything puts the guest back, unless it is a new one that was let run already.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guests import Guest, make_request, remove, render_base
from tests.lab.machine import Machine

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

KILLED = -9
REQUEST = make_request("crash", 2, {"hw:cpu_policy": "dedicated"})
BASE = "/tmp/crash.xml"


@pytest.fixture(scope="module", autouse=True)
def files(lab: Machine) -> Iterator[None]:
    lab.write("/tmp/killed.py", Path(__file__).parents[1].joinpath("killed.py").read_text())
    lab.write(BASE, render_base(REQUEST))
    yield
    remove(lab, "crash")


@pytest.fixture(scope="module")
def unpinned(lab: Machine, files: None) -> Guest:
    """A running guest that nobody pinned."""
    lab.shell(f"virsh -q define {BASE}; virsh -q start crash")
    return Guest(lab, "crash", {})


def run_killed(lab: Machine, method: str, *words: str) -> None:
    """The command dies when it is about to call ``method``."""
    path = {"PYTHONPATH": "/opt/cellwright:/opt/cellwright/site-packages"}
    command = ("python3", "-P", "/tmp/killed.py", method, "1", *words)
    done = lab.run(*command, stdin=json.dumps(REQUEST), env=path, status=None)
    assert done.status == KILLED, str(done)


def recover(lab: Machine) -> str:
    """Any verb that changes something puts back first what was interrupted, and says so."""
    return lab.run("cellwright", "repair").stderr


def last_outcome(lab: Machine) -> tuple[str, str]:
    """Verb and outcome of the journal's last entry."""
    columns = re.split(r"\s{2,}", lab.run("cellwright", "undo", "--list").stdout.splitlines()[-1])
    return columns[2], columns[4]


@pytest.mark.parametrize("method", ["Driver.define", "Driver.start", "Driver.resume"])
def test_a_killed_create_leaves_no_guest(lab: Machine, method: str) -> None:
    run_killed(lab, method, "create", "--request", "-", "--domain", BASE)
    assert "was interrupted" in recover(lab)
    assert last_outcome(lab) == ("create", "put back")
    assert lab.run("virsh", "-q", "list", "--all", "--name").stdout.split() == []
    assert lab.run("pgrep", "qemu", status=None).stdout == ""


def test_a_create_killed_after_its_last_step_leaves_a_guest_that_runs(lab: Machine) -> None:
    run_killed(lab, "Journal.end", "create", "--request", "-", "--domain", BASE)
    assert "after its last step: crash runs on" in recover(lab)
    assert last_outcome(lab) == ("create", "done")
    assert lab.run("virsh", "-q", "domstate", "crash").stdout.split() == ["running"]
    lab.run("cellwright", "undo")
    assert lab.run("virsh", "-q", "list", "--all", "--name").stdout.split() == []


@pytest.mark.parametrize("method", ["Driver.define", "Driver.pin_vcpus", "Driver.pin_emulator", "Journal.end"])
def test_a_killed_pin_leaves_the_guest_unpinned(lab: Machine, unpinned: Guest, method: str) -> None:
    xml = ("virsh", "-q", "dumpxml", "crash", "--inactive")
    before = [cpus for _, _, cpus in unpinned.read_threads()], lab.run(*xml).stdout
    run_killed(lab, method, "pin", "crash", "--request", "-", "--live", "--config")
    assert "as it was before" in recover(lab)
    assert last_outcome(lab) == ("pin", "put back")
    assert ([cpus for _, _, cpus in unpinned.read_threads()], lab.run(*xml).stdout) == before
