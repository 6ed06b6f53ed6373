"""``cellwright place``: documents in, a Placement document or a table out, and the exit code that says which."""

import json
from pathlib import Path

import pytest

from agent.cli.main import main
from tests.hosts import NAMED

HOST = ["place", "--synthetic", NAMED["osdev-01"]]


def request(**extra_specs: str) -> dict:
    specs = {"hw:cpu_policy": "dedicated"} | {f"hw:{key}": value for key, value in extra_specs.items()}
    return {"name": "db-1", "flavor": {"vcpus": 16, "ram_mb": 4096, "extra_specs": specs}}


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_json_request_json_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*HOST, "--format", "json", "--request", written(tmp_path, "r.json", json.dumps(request()))]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is True
    assert answer["cells"][0]["pins"]["0"] == "0"
    assert answer["cpu_topology"] == {"sockets": 8, "cores": 1, "threads": 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.toml", 'name = "x"\n[flavor]\nvcpus = 2\nram_mb = 64\n[flavor.extra_specs]\n"hw:numa_nodes" = 1\n'),
        ("r.yaml", "name: x\nflavor: {vcpus: 2, ram_mb: 64, extra_specs: {'hw:numa_nodes': 1}}\n"),
    ],
)
def test_toml_and_yaml_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str) -> None:
    assert main([*HOST, "--request", written(tmp_path, name, text)]) == 0
    assert "0-17,36-53" in capsys.readouterr().out


def test_what_does_not_fit_says_why_and_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usage = {"cells": [{"id": 0, "pinned": "0-11,36-47"}, {"id": 1, "pinned": "18-35,54-71"}]}
    usage_file = written(tmp_path, "u.json", json.dumps(usage))
    path = written(tmp_path, "r.json", json.dumps(request()))
    assert main([*HOST, "--usage", usage_file, "--request", path]) == 3
    assert "cell 0 has 12 free dedicated pCPUs of the 16 wanted" in capsys.readouterr().out


def test_requests_are_placed_in_turn_and_one_that_does_not_fit_makes_it_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "\n".join(json.dumps(request() | {"name": f"g{n}"}) for n in range(5))
    assert main([*HOST, "--requests", written(tmp_path, "r.jsonl", lines)]) == 3
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["fits"] for answer in answers] == [True, True, True, True, False]
    owned = [pin for answer in answers if answer["fits"] for pin in answer["cells"][0]["pins"].values()]
    assert len(owned) == len(set(owned)) == 64


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.json", "{", "r.json"),
        ("r.json", "", "r.json"),
        ("r.json", '{"flavor": {"vcpus": 1}}', "ram_mb"),
        ("r.json", '{"flavor": {"vcpus": 0, "ram_mb": 1}}', "flavor.vcpus=0"),
        ("r.toml", "vcpus = ", "r.toml"),
        ("r.yaml", "a: [", "r.yaml"),
        ("r.yaml", "name: 2001-99-99", "r.yaml: a value that is none of its type in YAML: month must be in 1..12"),
        ("r.yaml", "name: !!bool maybe", "r.yaml: a value that is none of its type in YAML: 'maybe'"),
        ("r.yaml", "name: !!timestamp x", "r.yaml: a value that is none of its type in YAML"),
        ("r.yaml", 'name: !!int ""', "r.yaml: a value that is none of its type in YAML"),
        ("r.toml", "name = " + "1" * 5000, "r.toml: "),
        ("r.txt", "{}", ".json, .toml, .yaml"),
        ("r.json", json.dumps(request(cpu_thread_policy="avoid")), "prefer, isolate, require"),
        ("r.json", json.dumps(request(pci_numa_affinity_policy="near")), "required, preferred, legacy, socket"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    assert main([*HOST, "--request", written(tmp_path, name, text)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_host_that_no_kernel_shows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = {"hostname": "h", "online": "0-3", "cells": [{"id": 0, "cpus": "0-1"}, {"id": 0, "cpus": "2-3"}]}
    host = written(tmp_path, "h.json", json.dumps(twice))
    assert main(["place", "--topology", host, "--request", written(tmp_path, "r.json", json.dumps(request()))]) == 2
    assert capsys.readouterr().err == f"cellwright: {host}: cell 0 is listed twice\n"


def test_memory_that_is_not_known_is_not_called_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = {"hostname": "h", "online": "0-31", "cells": [{"id": 0, "cpus": "0-31"}]}
    path = written(tmp_path, "h.json", json.dumps(host))
    wanted = ["--format", "json", "--request", written(tmp_path, "r.json", json.dumps(request()))]
    assert main(["place", "--topology", path, *wanted]) == 3
    (reason,) = json.loads(capsys.readouterr().out)["misfits"]
    assert (reason["code"], reason["wanted"], reason["available"]) == ("memory-unknown", 4 << 20, None)
    assert reason["message"] == "how much memory cell 0 has is not known, and 4 GiB are wanted"


def test_a_bad_line_of_many_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = json.dumps(request()) + "\n" + json.dumps(request(numa_nodes="0"))
    assert main([*HOST, "--requests", written(tmp_path, "r.jsonl", lines)]) == 2
    assert "r.jsonl:2" in capsys.readouterr().err


def test_classes_and_shares_are_shown_beside_the_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = {
        "hw:cpu_policy": "dedicated",
        "hw:cpu_realtime": "yes",
        "hw:cpu_realtime_mask": "^0",
        "cw:vcpu_sched": "rr:5",
        "cw:emulator_sched": "batch",
        "cw:cachetune": "1-3=2M code;1-3=1M data",
        "cw:memorytune": "1-3=50",
    }
    wanted = {"name": "rt-1", "flavor": {"vcpus": 4, "ram_mb": 1024, "extra_specs": specs}}
    assert main([*HOST, "--request", written(tmp_path, "r.json", json.dumps(wanted))]) == 0
    said = capsys.readouterr().out
    for line in (
        "real time   vCPUs 1-3",
        "classes     vCPUs 1-3 rr 5; emulator batch",
        "cache       2 MiB of L3 0 for code, vCPUs 1-3",
        "cache       1 MiB of L3 0 for data, vCPUs 1-3",
        "bandwidth   50% of that behind L3 0, vCPUs 1-3",
    ):
        assert line in said
