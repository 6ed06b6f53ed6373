"""The worker between two looks: what was put back is put back again, whenever and however often somebody undoes it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.compute.client import Client
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.link import Link
from agent.compute.daemon.state import AgentState
from agent.compute.daemon.worker import Worker
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import apply_pin, plan_pin
from agent.settings.agent import AgentSettings
from agent.settings.document import Settings
from tests.compute.daemon.test_proof import read_guests
from tests.compute.placements import FIRST, SECOND, dedicated


@pytest.fixture
def worker(libvirt: Driver, tmp_path: Path) -> Worker:
    settings = Settings(agent=AgentSettings(repair=True))
    tools = Tools(libvirt, Journal(tmp_path / "journal"), settings.agent, tmp_path)
    link = Link(Client("http://127.0.0.1:9", None), "nobody")
    return Worker(tools, link, settings, state=AgentState(agent=""), state_file=tmp_path / "agent.json", boot_id=None)


def test_what_is_undone_before_the_next_look_is_put_back_again(
    worker: Worker, libvirt: Driver, foreign: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """To the judge a thread that was repaired and moved again the same way stands where it stood."""
    name = foreign("undone")
    placement = dedicated(name, FIRST, SECOND)
    with worker.tools.journal.lock():
        plan = plan_pin(libvirt, name, placement, live=True, config=True, owner="", created_at="")
        apply_pin(libvirt, worker.tools.journal, plan)
    worker.guests = read_guests(libvirt, name)
    worker.prove_masks()
    pid = libvirt.domain(name).pid
    assert pid is not None
    home = os.sched_getaffinity(pid)
    for repaired in (1, 2, 3):
        os.sched_setaffinity(pid, {SECOND})
        worker.prove_masks()
        assert os.sched_getaffinity(pid) == home
        assert caplog.text.count(": repaired") == repaired
    worker.prove_masks()
    assert "drift cleared" in caplog.text
    worker.prove_masks()
    assert caplog.text.count(": repaired") == 3
    assert worker.prover.quick is not None
    assert worker.prover.quick.ok
