"""The state file: whole or as before, and what happens when the disk takes nothing."""

from pathlib import Path

import pytest

from agent.compute.daemon.state import AgentState, Known, read_agent_state, write_agent_state
from agent.core.errors import CellwrightError
from tests.compute.placements import FIRST, dedicated

KNOWN = Known(instance="i1", name="db", domain="db", placement=dedicated("db", FIRST), verified=True, boot_id="b")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "var" / "agent.json"
    state = AgentState(agent="a1").put(KNOWN)
    write_agent_state(path, state)
    assert read_agent_state(path, new_id="other") == (state, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["agent.json"]


def test_none_yet_is_a_new_agent(tmp_path: Path) -> None:
    assert read_agent_state(tmp_path / "agent.json", new_id="new") == (AgentState(agent="new"), "")


@pytest.mark.parametrize("text", ["", "{", '{"agent": 5}', '{"schema": "cellwright.agent-state/2", "agent": "x"}'])
def test_a_damaged_file_is_begun_anew_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(text)
    state, wrong = read_agent_state(path, new_id="new")
    assert state == AgentState(agent="new")
    assert str(path) in wrong


def test_a_full_disk_is_named_and_leaves_the_old_text() -> None:
    """/dev/full takes no byte; the draft there is a link to it, the file itself stays."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "agent.json")
        write_agent_state(path, AgentState(agent="a1"))
        path.with_suffix(".draft").symlink_to("/dev/full")
        with pytest.raises(CellwrightError, match=r"agent\.json: No space left on device"):
            write_agent_state(path, AgentState(agent="a2"))
        assert read_agent_state(path, new_id="new")[0].agent == "a1"


def test_put_and_drop() -> None:
    state = AgentState(agent="a").put(KNOWN).put(KNOWN)
    assert state.of("i1") == KNOWN
    assert state.drop("i1") == AgentState(agent="a")
