"""What holds for every verb: where its words go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = ("place", "--synthetic", "core:32", "--request", str(ROOT / "examples/pinned.toml"))


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "×"), ("latin-1", "×"), ("ascii", "?")])
def test_a_terminal_that_lacks_a_character_shows_a_question_mark(encoding: str, sign: str) -> None:
    command = [sys.executable, "-m", "agent", *PLACE]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    assert f"2 sockets {sign} 1 cores" in done.stdout.decode(encoding)
