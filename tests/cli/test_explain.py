"""``cellwright explain`` as its user runs it."""

import json
from pathlib import Path

import pytest

from agent.cli.main import main

HOST = ["--synthetic", "socket:2 core:6 thread:2 memory:8GiB name:box"]
PINNED = {"hw:cpu_policy": "dedicated"}


def write(path: Path, *documents: object) -> str:
    path.write_text("\n".join(json.dumps(document) for document in documents))
    return str(path)


def request(name: str, vcpus: int, **specs: str) -> dict[str, object]:
    return {"name": name, "flavor": {"vcpus": vcpus, "ram_mb": 512, "extra_specs": {**PINNED, **specs}}}


@pytest.fixture
def guests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The placements of two guests of seven, one a cell."""
    asked = [request("a", 7, **{"cw:host_cells": "0"}), request("b", 7, **{"cw:host_cells": "1"})]
    main(["place", *HOST, "--requests", write(tmp_path / "r.jsonl", *asked)])
    path = tmp_path / "guests.jsonl"
    path.write_text(capsys.readouterr().out)
    return str(path)


def test_a_table_of_rules_and_the_changes_that_help(
    tmp_path: Path, guests: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = write(tmp_path / "r.json", request("db", 7))
    assert main(["explain", *HOST, "--guests", guests, "--request", wanted]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "db does not fit on box:",
        "guest cell  host cell  rule              wanted  available",
        "0           0          not-enough-pcpus  7       5",
        "0           1          not-enough-pcpus  7       5",
        "nearest: fits on cell 0 with pCPUs 0,3 of cell 0 freed, which guest a owns [free pCPUs 0,3]",
        "or: fits on cell 0 with 5 vCPUs [vcpus=5]",
    ]


def test_json_is_the_misfit_document_with_its_nearest_change(
    tmp_path: Path, guests: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = write(tmp_path / "r.json", request("db", 5, **{"hw:cpu_thread_policy": "require"}))
    assert main(["explain", *HOST, "--guests", guests, "--request", wanted, "--format", "json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is False
    assert answer["misfits"][0]["code"] == "not-enough-siblings"
    assert answer["nearest"]["change"] == "hw:cpu_thread_policy=prefer"


def test_what_fits_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *HOST, "--request", write(tmp_path / "r.json", request("db", 7))]) == 0
    assert capsys.readouterr().out.startswith("db fits on box")


def test_place_names_the_nearest_change_of_a_misfit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", *HOST, "--request", write(tmp_path / "r.json", request("db", 13))]) == 3
    assert "nearest: fits on cell 0 with 12 vCPUs" in capsys.readouterr().out
