"""What `pip install cellwright` gives: templates and type hints are in the wheel, and the base needs msgspec alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from tests.domain.cases import CASES

ROOT = Path(__file__).parents[2]
REQUEST = {"name": "db-1", "flavor": {"vcpus": 4, "ram_mb": 1024, "extra_specs": {"hw:cpu_policy": "dedicated"}}}
OTHERS = (
    "lxml",
    "libvirt",
    "psutil",
    "pyroute2",
    "cpuinfo",
    "yaml",
    "zstandard",
    "numpy",
    "sqlalchemy",
    "alembic",
    "litestar",
)
BLOCKER = f"""
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OTHERS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
runpy.run_module("agent", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder: a wheel of pure Python is installed by unpacking it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def run(folder: Path, *words: str, stdin: str = "", alone: bool = False) -> subprocess.CompletedProcess[str]:
    """The installed command, away from the checkout; ``alone``: with no package but msgspec."""
    start = ("-c", BLOCKER) if alone else ("-m", "agent")
    environment = {"PYTHONPATH": f"{folder}:{Path(msgspec.__file__).parents[1]}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, *start, *words], cwd=folder, env=environment, input=stdin, capture_output=True, text=True
    )


def test_the_wheel_has_templates_type_hints_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        (points,) = [packed.read(name).decode() for name in names if name.endswith("entry_points.txt")]
        (metadata,) = [packed.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    assert {f"agent/templates/{path.name}" for path in (ROOT / "templates").iterdir()} <= names
    assert "agent/py.typed" in names
    assert "cellwright = agent.cli.main:main" in points
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert needed == ["Requires-Dist: msgspec>=0.19"]
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {"agent", "cellwright"}


def test_render_finds_its_templates_in_the_wheel(installed: Path) -> None:
    placement = msgspec.json.encode(msgspec.to_builtins(CASES["dedicated"].placement, enc_hook=str)).decode()
    for path in (ROOT / "templates").glob("*.xml"):
        done = run(installed, "render", "-", "--template", path.stem, "--type", "qemu", stdin=placement)
        assert done.returncode == 0, done.stderr
        assert "<name>cw-golden</name>" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--version",), 0, "cellwright "),
        (("topology",), 0, "cell"),
        (("topology", "--format", "json"), 0, "cellwright.topology/1"),
        (("topology", "--format", "numactl"), 0, "available: "),
        (("place", "--synthetic", "socket:2 core:8 thread:2 memory:8GiB", "--request", "-"), 0, "db-1 fits"),
        (
            ("place", "--synthetic", "socket:2 core:8 thread:2 memory:8GiB", "--request", "-", "--format", "json"),
            0,
            '"fits":true',
        ),
        (("explain", "--synthetic", "socket:2 core:8 thread:2 memory:8GiB", "--request", "-"), 0, ""),
    ],
)
def test_the_base_install_needs_msgspec_alone(installed: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = run(installed, *words, stdin=json.dumps(REQUEST), alone=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert says in done.stdout


@pytest.mark.parametrize(
    ("verb", "extra"), [("verify", "host"), ("create", "host"), ("render", "host"), ("scheduler", "scheduler")]
)
def test_a_verb_that_needs_more_says_what_to_install(installed: Path, verb: str, extra: str) -> None:
    placement = msgspec.json.encode(msgspec.to_builtins(CASES["dedicated"].placement, enc_hook=str)).decode()
    words = {"create": ("--placement", "-"), "render": ("-",)}.get(verb, ())
    done = run(installed, verb, *words, stdin=placement, alone=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"pip install 'cellwright[{extra}]'" in done.stderr
