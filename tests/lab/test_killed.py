"""kill -9 in the middle of a change: afterwards the guest is as before, or as after, and the journal says which.

The command is killed when it is about to make each of its changes, so every step has been the last one once.  The next
verb that changes anything puts the guest back, unless it is a new one that was let run already.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guests import Guest, check_no_qemu, make_request, remove, render_base, started
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


def run_killed(lab: Machine, method: str, *words: str, nth: int = 1) -> None:
    """The command dies when it is about to call ``method`` for the nth time."""
    done = lab.run("/tmp/killed.py", method, str(nth), *words, stdin=json.dumps(REQUEST), status=None)
    assert done.status == KILLED, str(done)


def recover(lab: Machine) -> str:
    """Any verb that would change something puts back first what was interrupted, and says so."""
    return lab.run("cellwright", "undo", "999999", status=2).stderr


def last_outcome(lab: Machine) -> tuple[str, str]:
    """Verb and outcome of the journal's last entry."""
    columns = re.split(r"\s{2,}", lab.run("cellwright", "undo", "--list").stdout.splitlines()[-1])
    return columns[2], columns[4]


@pytest.mark.parametrize("method", ["Driver.define", "Driver.start", "Driver.resume"])
def test_a_killed_create_leaves_no_guest(lab: Machine, method: str) -> None:
    run_killed(lab, method, "create", "--request", "-", "--domain", BASE)
    assert "was interrupted" in recover(lab)
    assert last_outcome(lab) == ("create", "put back")
    check_no_qemu(lab)


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
    before = unpinned.read_lasting(), lab.run(*xml).stdout
    run_killed(lab, method, "pin", "crash", "--request", "-", "--live", "--config")
    assert "as it was before" in recover(lab)
    assert last_outcome(lab) == ("pin", "put back")
    assert (unpinned.read_lasting(), lab.run(*xml).stdout) == before


@pytest.fixture(scope="module")
def placed(lab: Machine, files: None) -> Iterator[Guest]:
    """A guest on one cell, that is to move to the other."""
    with started(lab, make_request("moved", 2, {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1"})) as guest:
        yield guest


def everything(guest: Guest) -> tuple[object, ...]:
    """Threads, the cells that its cgroups may use, memory policies, and configuration."""
    mems = f"cat /sys/fs/cgroup/machine.slice/machine-qemu*{guest.name}.scope/libvirt/*/cpuset.mems"
    xml = guest.lab.run("virsh", "-q", "dumpxml", guest.name, "--inactive").stdout
    return guest.read_lasting(), guest.lab.shell(mems).stdout, sorted(guest.read_memory().items()), xml


@pytest.mark.parametrize(
    ("method", "nth"),
    [
        pytest.param("Driver.pin_vcpus", 1, id="configured, not pinned"),
        pytest.param("memory._write_mems", 2, id="some cgroups may use both cells"),
        pytest.param("move_pages._move", 4, id="half of the pages moved"),
        pytest.param("memory._write_mems", 5, id="some cgroups may use the new cell alone"),
        pytest.param("Journal.end", 1, id="all done, and not written down"),
    ],
)
def test_a_killed_migration_leaves_the_guest_on_its_old_cell(
    lab: Machine, placed: Guest, method: str, nth: int
) -> None:
    home = placed.placement["cells"][0]["host_cell"]
    before = everything(placed)
    run_killed(lab, method, "migrate-cells", "moved", "--to", str(1 - home), nth=nth)
    assert "moved is again as it was before" in recover(lab)
    assert last_outcome(lab) == ("migrate-cells", "put back")
    assert everything(placed) == before
    assert placed.verify(status=None)["ok"]


def test_a_killed_repair_of_pages_leaves_them_where_they_were(lab: Machine, placed: Guest) -> None:
    """Pinned to the other cell while it runs, so that all its memory is elsewhere."""
    other = 1 - placed.placement["cells"][0]["host_cell"]
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1", "cw:host_cells": str(other)}
    request = json.dumps(make_request("moved", 2, specs))
    lab.run("cellwright", "pin", "moved", "--request", "-", "--live", stdin=request)
    before = everything(placed)
    run_killed(lab, "move_pages._move", "repair", "moved", "--pages", nth=4)
    assert "moved is again as it was before" in recover(lab)
    assert last_outcome(lab) == ("repair", "put back")
    assert everything(placed) == before
    lab.run("cellwright", "undo")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        pytest.param(
            "Driver.define", ("pin", "crash", "--request", "-", "--live", "--config"), id="pin: configuration"
        ),
        pytest.param("Driver.pin_vcpus", ("pin", "crash", "--request", "-", "--live", "--config"), id="pin: masks"),
        pytest.param("Driver.xml", ("verify", "crash", "--quick"), id="verify: between list and XML"),
    ],
)
def test_libvirtd_restarts_under_us_and_the_verb_is_carried_out(
    lab: Machine, unpinned: Guest, method: str, words: tuple[str, ...]
) -> None:
    env = {"INSTEAD": "systemctl restart libvirtd.service"}
    lab.run("/tmp/killed.py", method, "1", *words, stdin=json.dumps(REQUEST), env=env)
    lab.run("cellwright", "verify", "crash", "--quick")
    if words[0] == "pin":
        lab.run("cellwright", "unpin", "crash")


def test_libvirtd_restarts_while_a_guest_starts_and_nothing_half_started_is_left(lab: Machine) -> None:
    """A start may not be repeated: libvirt could have begun it.  So the create fails, says why, and cleans up."""
    request = make_request("other", 2, {"hw:cpu_policy": "dedicated"})
    lab.write("/tmp/other.xml", render_base(request))
    env = {"INSTEAD": "systemctl restart libvirtd.service"}
    words = ("create", "--request", "-", "--domain", "/tmp/other.xml")
    done = lab.run("/tmp/killed.py", "Driver.start", "1", *words, stdin=json.dumps(request), env=env, status=5)
    assert "was restarted during: start" in done.stderr
    assert "Traceback" not in done.stderr
    assert "other" not in lab.run("virsh", "-q", "list", "--all", "--name").stdout.split()
    assert last_outcome(lab) == ("create", "put back")
