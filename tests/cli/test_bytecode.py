"""Our finder of byte code answers what Python's would, or leaves the module to it."""

import os
import py_compile
import shutil
import subprocess
import sys
from compileall import compile_dir
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from agent.cli.bytecode import Finder

ROOT = Path(__file__).parents[2]
STAMPED = py_compile.PycInvalidationMode.TIMESTAMP


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module ``agent.made`` with byte code, in a folder of its own."""
    source = tmp_path / "made.py"
    source.write_text("ANSWER = 42\n")
    py_compile.compile(str(source), invalidation_mode=STAMPED)
    return source


def test_a_module_is_specified_as_pythons_finder_does(module: Path) -> None:
    ours = Finder.find_spec("agent.made", [str(module.parent)])
    pythons = PathFinder.find_spec("agent.made", [str(module.parent)])
    assert ours is not None
    assert pythons is not None
    for spec in (ours, pythons):
        assert (spec.name, spec.origin, spec.has_location, spec.parent) == ("agent.made", str(module), True, "agent")
        assert spec.submodule_search_locations is None
    assert ours.cached == pythons.cached
    assert ours.loader.get_code("agent.made") == pythons.loader.get_code("agent.made")  # type: ignore[union-attr]


def changed(module: Path) -> None:
    module.write_text("ANSWER = 43, or more\n")


def touched(module: Path) -> None:
    os.utime(module, (0, 0))


def without_bytecode(module: Path) -> None:
    next(module.parent.glob("__pycache__/*")).unlink()


def of_another_interpreter(module: Path) -> None:
    bytecode = next(module.parent.glob("__pycache__/*"))
    bytecode.write_bytes(b"\0\0" + bytecode.read_bytes()[2:])


def with_a_hash(module: Path) -> None:
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def too_long(module: Path) -> None:
    with next(module.parent.glob("__pycache__/*")).open("ab") as bytecode:
        bytecode.write(bytes(1 << 16))


@pytest.mark.parametrize("make", [changed, touched, without_bytecode, of_another_interpreter, with_a_hash, too_long])
def test_what_is_not_as_usual_is_left_to_python(module: Path, make: object) -> None:
    make(module)  # type: ignore[operator]
    assert Finder.find_spec("agent.made", [str(module.parent)]) is None


def test_a_package_is_found_too(module: Path) -> None:
    package = module.parent / "room"
    package.mkdir()
    (package / "__init__.py").touch()
    py_compile.compile(str(package / "__init__.py"), invalidation_mode=STAMPED)
    ours = Finder.find_spec("agent.room", [str(module.parent)])
    pythons = PathFinder.find_spec("agent.room", [str(module.parent)])
    assert ours is not None
    assert pythons is not None
    assert (ours.origin, ours.cached, ours.parent) == (pythons.origin, pythons.cached, "agent.room")
    assert ours.submodule_search_locations == pythons.submodule_search_locations == [str(package)]


def test_foreign_modules_and_the_house_itself_are_left_to_python(module: Path) -> None:
    assert Finder.find_spec("made", [str(module.parent)]) is None
    assert Finder.find_spec("agent", None) is None
    assert Finder.find_spec("agent.absent", [str(module.parent)]) is None


def test_the_command_of_make_install_imports_by_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("cli", "core", "inspection"):
        assert compile_dir(tmp_path / "agent" / room, quiet=1, invalidation_mode=STAMPED)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    make = ["make", "-s", "-f", str(ROOT / "Makefile"), "quick-start", "VENV=."]
    subprocess.run(make, cwd=tmp_path, check=True)
    start, _, end = (tmp_path / "bin/cellwright").read_text().rpartition("sys.exit(")
    assert end == "main())\n"
    shown = (
        "print(*(name for name in sys.modules if type(sys.modules[name].__loader__).__module__ == Finder.__module__))"
    )
    command = [sys.executable, "-SP", "-c", f"{start}import agent.inspection.document\n{shown}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert {"agent.cli.main", "agent.core", "agent.core.errors", "agent.inspection.cores"} <= set(found)
