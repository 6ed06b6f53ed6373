"""The README is true: its commands print what it shows, and what it names is there."""

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from agent.cli.main import EXIT_CODES, VERBS, main
from agent.core.codec import encode
from agent.inspection.synthetic import parse_synthetic

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_placement_it_shows_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = re.findall(r"^    \$ cellwright (place .*)\n((?:    .*\n)+)", README, re.MULTILINE)
    command, output = shown
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == dedent(output)


def test_every_verb_is_told_of_and_no_other() -> None:
    table = README.split("## Verbs")[1].split("\n\n")[1]
    verbs = {word.split()[0] for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert verbs == set(VERBS)


def test_exit_codes_are_those_of_the_command() -> None:
    assert README.split("Exit codes: ")[1].split(".\n")[0].replace(" · ", ", ") == EXIT_CODES.removeprefix(
        "exit codes: "
    )


def test_every_figure_names_a_benchmark_that_is_there() -> None:
    rows = README.split("## How fast")[1].split("\n\n")[2].splitlines()[2:]
    scripts = [re.search(r"`(\w+\.py)`", row) for row in rows]
    for row, script in zip(rows, scripts, strict=True):
        assert row.startswith("| the same") or (script and (ROOT / "benchmarks" / script[1]).is_file()), row


def test_the_python_it_shows_runs() -> None:
    (code,) = re.findall(r"## From Python\n\n((?:    .*\n|\n)+)", README)
    names: dict[str, Any] = {
        "topology_json": encode(parse_synthetic("socket:2 core:4")),
        "request_json": '{"flavor": {"vcpus": 2, "ram_mb": 64}}',
    }
    exec(dedent(code), names)
    assert names["answer"].fits
