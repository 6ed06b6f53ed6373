"""``cellwright capacity`` as its user runs it."""

import json
from pathlib import Path

import pytest

from agent.cli.main import main

HOST = ["--synthetic", "socket:2 core:4 thread:2 name:box"]


@pytest.fixture
def flavor(tmp_path: Path) -> str:
    path = tmp_path / "flavor.toml"
    path.write_text('name = "m.cpu"\nvcpus = 3\nram_mb = 512\n[extra_specs]\n"hw:cpu_policy" = "dedicated"\n')
    return str(path)


def test_a_table_for_people(flavor: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", *HOST, "--flavor", flavor]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "box holds 4 more guests of m.cpu (exact)",
        "  cell 0 alone has room for guest cells: 2",
        "  cell 1 alone has room for guest cells: 2",
        "runs out first: not-enough-pcpus",
        "  cell 0 has 2 free dedicated pCPUs of the 3 wanted",
        "  cell 1 has 2 free dedicated pCPUs of the 3 wanted",
    ]


def test_guest_cells_that_differ_are_counted_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = {"cpu_policy": "dedicated", "numa_nodes": "2", "numa_cpus.0": "0-2", "numa_cpus.1": "3"}
    specs |= {"numa_mem.0": "256", "numa_mem.1": "256"}
    flavor = {"vcpus": 4, "ram_mb": 512, "extra_specs": {f"hw:{key}": value for key, value in specs.items()}}
    (tmp_path / "f.json").write_text(json.dumps(flavor))
    assert main(["capacity", *HOST, "--flavor", str(tmp_path / "f.json")]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "box holds 4 more guests like this (exact)",
        "  cell 0 alone has room for guest cells: 2 like guest cell 0, 8 like guest cell 1",
        "  cell 1 alone has room for guest cells: 2 like guest cell 0, 8 like guest cell 1",
    ]


def test_a_request_file_says_which_flavor_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tmp_path / "request"
    request.write_text('{"name": "db-1", "flavor": {"name": "pair", "vcpus": 2, "ram_mb": 64}}')
    assert main(["capacity", *HOST, "--flavor", str(request)]) == 0
    assert "guests of pair" in capsys.readouterr().out


def test_json_for_programs(flavor: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", *HOST, "--flavor", flavor, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["count"], answer["exact"]) == ("cellwright.capacity/1", 4, True)


def test_a_full_host_is_exit_code_3(flavor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usage = tmp_path / "usage.json"
    usage.write_text('{"cells": [{"id": 0, "pinned": "0-3,8-11"}, {"id": 1, "pinned": "4-7,12-14"}]}')
    assert main(["capacity", *HOST, "--flavor", flavor, "--usage", str(usage)]) == 3
    assert "holds 0 more guests" in capsys.readouterr().out


def test_bad_flavor_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f.json").write_text('{"vcpus": "four", "ram_mb": 1}')
    assert main(["capacity", *HOST, "--flavor", str(tmp_path / "f.json")]) == 2
    assert "$.vcpus" in capsys.readouterr().err
