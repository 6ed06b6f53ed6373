"""``topology --format json`` has a lane of its own: the same document, without the imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.cli.topology import run_quick
from tests.inspection.trees import two_cells, write

HEAVY = {"msgspec", "argparse", "re", "json", "typing", "enum", "pathlib", "importlib", "collections", "functools"}


def test_the_quick_lane_prints_what_the_ordinary_one_prints(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(tmp_path, two_cells())
    assert run_quick(["--format", "json", f"--sysroot={tmp_path}"]) == 0
    quick = capsysbinary.readouterr().out
    assert main(["topology", "--sysroot", str(tmp_path), "--forma", "json"]) == 0, "an abbreviation goes to argparse"
    assert capsysbinary.readouterr().out == quick


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--format"],
        ["--format", "table"],
        ["--format=json", "--help"],
        ["--format", "json", "--synthetic", "core:1"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_argparse(argv: list[str]) -> None:
    assert run_quick(argv) is None


def test_the_quick_lane_imports_nothing_heavy() -> None:
    # -S: an environment's site-packages may preload anything; -I: nor do we want the user's
    code = (
        "import sys; sys.path.insert(0, '.'); from agent.cli.main import main; "
        "main(['topology', '--format', 'json']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('{"schema":"cellwright.topology/1"')
    assert HEAVY & set(done.stderr.split()) == set()
