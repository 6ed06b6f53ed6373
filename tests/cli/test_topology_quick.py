"""``topology`` has a lane of its own for its plainest uses: the same answers, without the imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.cli.quick import run_quick_topology as run_quick
from agent.cli.topology import FORMATS
from agent.core.codec import decode
from agent.core.topology import HostTopology
from agent.inspection.host import read_host
from tests.inspection.trees import two_cells, write

ROOT = Path(__file__).parents[2]
REQUEST = ROOT / "examples/pinned.toml"

HEAVY = {"os", "site", "_collections_abc", "collections", "functools", "typing", "enum", "re", "json", "pathlib"}
HEAVY |= {"importlib", "argparse", "msgspec"}


@pytest.mark.parametrize(
    "argv",
    [
        ["--format"],
        ["--format", "load"],
        ["--knobs"],
        ["--format=json", "--format=json"],
        ["--sysroot", "/", "--snapshot", "x.tar.gz"],
        ["--format=json", "--help"],
        ["--format", "json", "--synthetic", "core:1"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_argparse(argv: list[str]) -> None:
    assert run_quick(argv) is None


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_the_same_on_both_lanes(
    form: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(tmp_path, two_cells())
    assert run_quick(["--format", form, f"--sysroot={tmp_path}"]) == 0
    quick = capsysbinary.readouterr().out
    assert main(["topology", "--sysroot", str(tmp_path), "--forma", form]) == 0, "an abbreviation goes to argparse"
    assert capsysbinary.readouterr().out == quick


def test_a_snapshot_is_read_on_the_quick_lane_too(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    snapshot = str(tmp_path / "made.tar.gz")
    assert main(["snapshot", snapshot, "--sysroot", str(write(tmp_path / "tree", two_cells()))]) == 0
    assert run_quick(["--format", "json", "--sysroot", str(tmp_path / "tree")]) == 0
    original = capsysbinary.readouterr().out.splitlines()[-1]
    assert run_quick(["--format", "json", "--snapshot", snapshot]) == 0
    assert capsysbinary.readouterr().out.splitlines() == [original]


def without_site(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as `make install` makes it, which starts without Python's site module."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from agent.cli.main import main; "
        f"code = main({list(words)!r}); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-SP", "-c", code], capture_output=True, text=True, check=True)


def test_the_quick_lane_imports_nothing_heavy() -> None:
    done = without_site("topology", "--format", "json")
    assert done.stdout.startswith('{"schema":"cellwright.topology/1"')
    assert HEAVY & set(done.stderr.split()) == set()


def test_verbs_that_need_packages_find_them_without_site() -> None:
    assert "first-light fits" in without_site("place", "--synthetic", "core:32", "--request", str(REQUEST)).stdout
    assert without_site("topology").stdout.startswith("host ")


def test_the_command_that_make_install_puts_there(tmp_path: Path) -> None:
    command = tmp_path / "bin/cellwright"
    command.parent.mkdir()
    (command.parent / "python").symlink_to(sys.executable)
    subprocess.run(["make", "-s", "quick-start", f"VENV={os.path.relpath(tmp_path, ROOT)}"], cwd=ROOT, check=True)
    assert command.read_text().startswith("#!")
    done = subprocess.run([command, "topology", "--format", "json"], capture_output=True, check=True)
    assert decode(done.stdout, HostTopology).online == read_host().online
