"""kill -9 in the middle of unpin, undo, adopt and repair: the guest is as before, and the journal says so.

tests/lab has the same of create, pin and migrate-cells.  One guest serves all.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compute.change import recover
from agent.compute.driver import Driver
from agent.compute.guest_state import GuestState, read_state, restore_state
from agent.compute.journal import Journal, Outcome
from agent.compute.pin import apply_pin, plan_pin
from tests.compute.guests import name_of, remove, tiny_xml, virsh
from tests.compute.placements import FIRST, SECOND, dedicated

KILLED = Path(__file__).parents[1] / "killed.py"
ROOT = KILLED.parents[1]
NAME = name_of("killed")
WORDS = {"unpin": (NAME,), "undo": (), "adopt": (NAME,), "repair": (NAME,)}
STEPS = [
    *(("unpin", "Driver.define", 1), ("unpin", "Driver.pin_vcpus", 1), ("unpin", "Journal.mark", 2)),
    *(("undo", "Driver.define", 1), ("undo", "Journal.mark", 1), ("undo", "Journal.end", 1)),
    *(("adopt", "Driver.set_metadata", 1), ("adopt", "Journal.end", 1)),
    *(("repair", "Driver.pin_vcpus", 1), ("repair", "Journal.end", 1)),
]


@pytest.fixture(scope="module")
def libvirt(libvirt_uri: str) -> Iterator[Driver]:
    """Somebody else's guest, which never runs."""
    with Driver(libvirt_uri) as driver:
        driver.define(tiny_xml(NAME), name=NAME)
        try:
            driver.start(NAME, paused=True)
            yield driver
        finally:
            remove(NAME)


def run(verb: str, folder: Path, *words: str) -> int:
    """The command's exit status, or the signal that ended it as a negative number."""
    argv = [sys.executable, *words, verb, *WORDS[verb], "--state-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, env=environment, capture_output=True, check=False).returncode


def prepare(libvirt: Driver, journal: Journal, verb: str) -> GuestState:
    """The guest as the verb wants it: pinned, and for a repair drifted too; foreign for an adoption."""
    if verb != "adopt":
        plan = plan_pin(libvirt, NAME, dedicated(NAME, FIRST, SECOND), live=True, config=True, owner="", created_at="")
        with journal.lock():
            apply_pin(libvirt, journal, plan)
    if verb == "repair":
        virsh("vcpupin", NAME, "0", str(SECOND), "--live")
    return read_state(libvirt, NAME)


@pytest.fixture
def foreign(libvirt: Driver) -> Iterator[None]:
    """The guest as its owner made it, afterwards too."""
    made = read_state(libvirt, NAME)
    yield
    restore_state(libvirt, NAME, made, uuid=made.uuid)


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(("verb", "method", "nth"), STEPS)
def test_killed_it_is_put_back_and_carried_out_when_asked_again(
    libvirt: Driver, tmp_path: Path, verb: str, method: str, nth: int
) -> None:
    journal = Journal(tmp_path / "journal")
    before = prepare(libvirt, journal, verb)
    earlier = [entry.outcome for entry in journal.entries()]
    assert run(verb, tmp_path, str(KILLED), method, str(nth)) == -signal.SIGKILL
    said: list[str] = []
    with journal.lock():
        recover(libvirt, journal, say=said.append)
    assert len(said) == 1
    assert said[0].endswith(f"{NAME} is again as it was before")
    assert read_state(libvirt, NAME) == before
    assert [entry.outcome for entry in journal.entries()] == [*earlier, Outcome.PUT_BACK]
    assert run(verb, tmp_path, "-m", "agent") == 0
    taken_back = [Outcome.UNDONE] if verb in ("unpin", "undo") else earlier
    assert [entry.outcome for entry in journal.entries()] == [*taken_back, Outcome.PUT_BACK, Outcome.DONE]
