"""What holds for every verb: how it is called, and where its words go."""

import gc
import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from agent import __version__
from agent.cli import agent, zone
from agent.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]
PLACE = ("place", "--synthetic", "core:32", "--request", str(ROOT / "examples/pinned.toml"))


@pytest.mark.parametrize(
    ("encoding", "sign"), [("utf-8", "×"), ("latin-1", "×"), ("ascii", "?"), ("ascii:surrogateescape", "?")]
)
def test_a_terminal_that_lacks_a_character_shows_a_question_mark(encoding: str, sign: str) -> None:
    command = [sys.executable, "-m", "agent", *PLACE]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    assert f"2 sockets {sign} 1 cores" in done.stdout.decode(encoding.partition(":")[0])


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``$C`` is the command; its exit code is that of the pipe's first part."""
    command = ["bash", "-c", f'{line}; exit "${{PIPESTATUS[0]}}"']
    environment = os.environ | {"C": f"{sys.executable} -m agent", "PYTHONUNBUFFERED": ""}  # as users have it
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["--help"], "usage: cellwright VERB"),
        (["help"], "usage: cellwright VERB"),
        (["-V"], f"cellwright {__version__}"),
        (["--version"], f"cellwright {__version__}"),
        # as git and the openstack client have it
        (["help", "place"], "usage: cellwright place"),
        # as virsh has it, options before the verb
        (["--synthetic", "core:1", "topology", "--format", "json"], '{"schema":"cellwright.topology/1"'),
    ],
)
def test_words_are_understood_where_other_tools_have_them(
    words: list[str], begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as end:  # argparse ends so after --help
        code = int(end.code or 0)
    assert (code, capsys.readouterr().out.startswith(begins)) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: cellwright VERB"),
        (["topolgy"], "cellwright: 'topolgy' is no verb; do you mean topology?\n"),
        (["frobnicate"], f"cellwright: 'frobnicate' is no verb; verbs: {', '.join(VERBS)}\n"),
        (["--frobnicate"], f"cellwright: '--frobnicate' is no verb; verbs: {', '.join(VERBS)}\n"),
    ],
)
def test_what_is_no_verb_is_bad_usage_and_said_on_stderr(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(said)) == ("", True)


def test_what_a_terminal_would_obey_is_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"flavor": {"vcpus": 1, "ram_mb": 1, "extra_specs": {"hw:cpu_policy": "\\u001b[2J\\u0000é"}}}')
    assert main(["place", "--synthetic", "core:2", "--request", str(file)]) == 2
    allowed = "is no such policy; allowed: shared, dedicated, mixed"
    assert capsys.readouterr().err == f"cellwright: hw:cpu_policy=\\x1b[2J\\x00é: {allowed}\n"


def test_no_name_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", "--topology", "", "--request", "nowhere.json"]) == 2
    assert capsys.readouterr().err == "cellwright: '' names no file; allowed: a file's name, or - for stdin\n"


def test_stdin_is_one_file() -> None:
    done = shell("echo '{}' | $C place --synthetic core:2 --limits - --request - 2>&1; exit ${PIPESTATUS[1]}")
    assert (done.returncode, done.stdout) == (
        2,
        "cellwright: -: two files are to be read from stdin; name one of them\n",
    )


def test_names_may_stand_between_options(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", "one", "--quick", "two", "--connect", "test:///default", "--format", "json"]
    assert main(words) == 2
    assert "no domain 'one' on test:///default" in capsys.readouterr().err


def test_help_keeps_paragraphs_and_is_as_wide_as_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    text = capsys.readouterr().out
    assert "\n\nWithout a name, all running guests are verified." in text
    assert max(map(len, text.splitlines())) <= 60


GONE = "import os, sys; os.dup2(os.pipe()[1], 1); os.closerange(3, 9); os.execvp(sys.argv[1], sys.argv[1:])"
"""Runs a command whose stdout nobody reads any more."""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("topology --synthetic core:2", 0),
        ("topology --format json", 0),
        ("place --help", 0),
        (" ".join(PLACE), 0),
        ("place --synthetic core:1 --request examples/database.toml", 3),
    ],
)
def test_a_reader_that_goes_early_is_told_nothing_and_the_answer_stands(words: str, code: int) -> None:
    done = shell(f"{sys.executable} -c '{GONE}' $C {words}")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    "words", ["--help", "place --help", "topology --format json", "topology --synthetic core:2", " ".join(PLACE)]
)
def test_a_full_disk_is_one_line(words: str) -> None:
    for unbuffered in ("", "1"):
        done = shell(f"PYTHONUNBUFFERED={unbuffered} $C {words} > /dev/full")
        assert (done.returncode, done.stderr) == (1, "cellwright: output: No space left on device\n")


@pytest.mark.parametrize("words", ["frobnicate", "place", "place --synthetic core:1 --request nowhere.json"])
def test_the_code_tells_where_stderr_cannot(words: str) -> None:
    assert shell(f"$C {words} 2> /dev/full").returncode == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$C topology --synthetic core:2 >&-", 0),
        ("$C frobnicate 2>&-", 2),
        ("$C place --synthetic core:2 --request - <&-", 2),
    ],
)
def test_streams_that_are_closed_end_no_verb(line: str, code: int) -> None:
    done = shell(line)
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (code, False)


def test_the_environment_names_the_scheduler_for_all_who_ask_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLWRIGHT_SCHEDULER", "http://there:1")
    parser = ArgumentParser()
    agent.configure(parser)
    assert agent.read_agent_settings(parser.parse_args([])).agent.scheduler == "http://there:1"
    parser = ArgumentParser()
    zone.configure(parser)
    assert parser.parse_args(["list"]).scheduler == "http://there:1"


def test_a_verb_collects_garbage_however_it_was_started() -> None:
    gc.disable()  # as the command of `make install` does
    try:
        with pytest.raises(SystemExit):
            main(["place", "--help"])
        assert gc.isenabled()
    finally:
        gc.enable()
