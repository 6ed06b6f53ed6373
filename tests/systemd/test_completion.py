"""Completion as the shells themselves do it: they find the installed file, and offer verbs, actions and options."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.systemd.installed import PACKAGER, install_system


@pytest.fixture(scope="module", params=[PACKAGER, ()], ids=["below /usr", "below /usr/local"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    install_system(folder, *request.param)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a command of our name: fish completes only what it could run."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "cellwright").symlink_to("/bin/true")
    return folder


def find(installed: Path, name: str, searched: list[str]) -> Path:
    """The installed file, in one of the folders that a shell searches by itself."""
    (found,) = installed.rglob(name)
    assert f"/{found.parent.relative_to(installed)}" in searched
    return found


def run(*command: str | Path, **environment: str) -> str:
    kept = {key: os.environ[key] for key in ("PATH", "HOME")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**kept, **environment}).stdout


def ask_bash(installed: Path, program: Path, line: str, offered: str) -> str:
    script = f"""source /usr/share/bash-completion/bash_completion
_completion_loader cellwright
COMP_LINE='{line}'; COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
$(complete -p cellwright | sed 's/.*-F \\([^ ]*\\).*/\\1/') cellwright
echo "${{COMPREPLY[@]}}" """
    shares = ":".join(str(path) for path in (installed / "usr/share", installed / "usr/local/share"))
    return run("bash", "-c", script, XDG_DATA_DIRS=shares)


def ask_fish(installed: Path, program: Path, line: str, offered: str) -> str:
    file = find(installed, "cellwright.fish", run("fish", "-c", "string join \\n $fish_complete_path").splitlines())
    path = f"{program}:{os.environ['PATH']}"
    return run("fish", "-c", f"set fish_complete_path {file.parent}; complete -C '{line}'", PATH=path)


def ask_zsh(installed: Path, program: Path, line: str, offered: str) -> str:
    """What stands on the terminal after a tab, as soon as ``offered`` is there."""
    file = find(installed, "_cellwright", run("zsh", "-f", "-c", "print -l $fpath").splitlines())
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(program), "TERM": "dumb"}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        os.write(ours, f"fpath=({file.parent} $fpath); autoload -U compinit; compinit -u -D; print rea''dy\n".encode())
        read_until(ours, "ready\r\n")
        os.write(ours, f"{line}\t".encode())
        return read_until(ours, offered)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(terminal: int, text: str) -> str:
    """Everything up to ``text``."""
    said = ""
    until = time.monotonic() + 120
    while text not in said:
        waiting, _, _ = select.select([terminal], [], [], until - time.monotonic())
        assert waiting, f"{text!r} is not in {said!r}"
        said += os.read(terminal, 4096).decode(errors="replace")
    return said


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cellwright topo", "topology"),
        ("cellwright agent --sche", "--scheduler"),
        ("cellwright instance cre", "create"),
    ],
    ids=["a verb", "an option", "an action"],
)
@pytest.mark.parametrize("ask", [ask_bash, ask_fish, ask_zsh])
def test_offered(
    installed: Path, program: Path, ask: Callable[[Path, Path, str, str], str], line: str, offered: str
) -> None:
    assert offered in ask(installed, program, line, offered).split()
