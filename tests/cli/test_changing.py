"""The verbs that change a host, as their user calls them: output, exit codes, and what a kill leaves."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.compute.driver import Driver
from agent.compute.journal import Journal, Outcome
from agent.core.codec import encode
from tests.compute.guests import name_of, remove, tiny_xml, virsh
from tests.compute.placements import FIRST, SECOND, dedicated

COMMAND = [sys.executable, "-m", "agent"]
FLOATING = {"flavor": {"vcpus": 2, "ram_mb": 64, "extra_specs": {"hw:numa_nodes": "1"}}}


@pytest.fixture
def name(libvirt_uri: str) -> Iterator[str]:
    made = name_of("cli")
    yield made
    remove(made)


@pytest.fixture
def cellwright(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a verb with a journal of the test's own."""

    def run(verb: str, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        argv = [*COMMAND, verb, *words, "--state-dir", str(tmp_path)]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    return run


def request(name: str) -> str:
    return json.dumps({"name": name, **FLOATING})


CREATE = ("--request", "-", "--template", "tiny", "--type", "qemu")


def test_create_then_undo_leaves_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str
) -> None:
    done = cellwright("create", *CREATE, stdin=request(name))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name} fits on ")
    assert "threads are where they should be" in done.stderr
    assert virsh("domstate", name).strip() == "running"
    again = cellwright("create", *CREATE, stdin=request(name))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert f"create  {name}  done" in cellwright("undo", "--list").stdout
    assert cellwright("undo", "--dry-run").stdout == f"{name} would be stopped and undefined\n"
    assert cellwright("undo").returncode == 0
    assert name not in virsh("list", "--all", "--name").split()
    assert cellwright("undo").returncode == 2


def test_a_dry_run_prints_the_xml_and_makes_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, tmp_path: Path
) -> None:
    done = cellwright("create", *CREATE, "--dry-run", stdin=request(name))
    assert done.stdout.startswith("<domain ")
    assert name not in virsh("list", "--all", "--name").split()
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--request", "-", "--connect", "qemu+unix:///system?socket=/nowhere"), 5, "systemctl start libvirtd"),
        (("--request", "/nowhere.json"), 2, "/nowhere.json: No such file"),
        (("--request", "-", "--template", "huge"), 2, "template 'huge' does not exist"),
        (("--request", "-", "--name", "pa/th"), 2, "no name for a guest"),
        (("--request", "-", "--name", 'quo"te'), 2, "no name for a guest"),
        (("--request", "-", "--name", "<angle>"), 2, "no name for a guest"),
        (("--request", "-", "--domain", "/nowhere.xml"), 2, "/nowhere.xml: No such file"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"],
    libvirt_uri: str,
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    done = cellwright("create", *words, "--type", "qemu", stdin=request("never"))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "never" not in virsh("list", "--all", "--name").split()


def test_what_does_not_fit_is_answered_with_3(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], libvirt_uri: str
) -> None:
    big = {"name": "never", "flavor": {"vcpus": 2, "ram_mb": 1 << 30, "extra_specs": {"hw:numa_nodes": "1"}}}
    done = cellwright("create", *CREATE, stdin=json.dumps(big))
    assert (done.returncode, "does not fit" in done.stdout) == (3, True)


def test_a_placement_for_another_host_is_refused(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], libvirt_uri: str
) -> None:
    placement = encode(dedicated("never", FIRST, SECOND)).replace(b'"host":"', b'"host":"not-')
    done = cellwright("create", "--placement", "-", "--template", "tiny", stdin=placement.decode())
    assert (done.returncode, "made for host 'not-" in done.stderr) == (2, True)


def test_pin_a_stopped_foreign_domain_and_unpin_it(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"], name: str, libvirt_uri: str
) -> None:
    with Driver(libvirt_uri) as libvirt:
        libvirt.define(tiny_xml(name), name=name)
        before = libvirt.xml(name, config=True)
        shown = cellwright("pin", name, "--request", "-", "--dry-run", stdin=request(name))
        assert "+    <vcpupin vcpu=" in shown.stdout
        assert libvirt.xml(name, config=True) == before
        assert cellwright("pin", name, "--request", "-", stdin=request(name)).returncode == 0
        assert "vcpupin" in libvirt.xml(name, config=True)
        assert cellwright("unpin", name).stdout == f"{name} is unpinned, as before pin\n"
        assert libvirt.xml(name, config=True) == before


@pytest.mark.parametrize("delay_s", [0.25, 0.4, 0.55, 0.8])
def test_kill_9_leaves_before_or_after_and_the_journal_says_which(
    cellwright: Callable[..., "subprocess.CompletedProcess[str]"],
    name: str,
    tmp_path: Path,
    delay_s: float,
    libvirt_uri: str,
) -> None:
    argv = [*COMMAND, "create", *CREATE, "--state-dir", str(tmp_path)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(request(name).encode())
    process.stdin.close()
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # libvirtd finishes the call that it was in; the next verb that changes anything puts the guest back
    next_verb = cellwright("repair", name)
    entries = [entry for entry in Journal(tmp_path / "journal").entries() if entry.domain == name]
    there = name in virsh("list", "--all", "--name").split()
    if not entries:
        assert not there
    elif entries[0].outcome is Outcome.DONE:
        assert virsh("domstate", name).strip() == "running"
    else:
        assert entries[0].outcome is Outcome.PUT_BACK
        assert "was interrupted" in next_verb.stderr
        assert not there
