"""The operator's ratios, reservations and packing count wherever a guest is placed by hand: --config, or --limits."""

import json
from pathlib import Path

import pytest

from agent.cli.main import main

HOST = ["--synthetic", "cell:2 core:4 thread:1 memory:4GiB pages:2M=64 name:box"]
FLOATING = {"name": "web", "flavor": {"vcpus": 4, "ram_mb": 1024, "extra_specs": {"hw:numa_nodes": "1"}}}
HUGE = {"name": "db", "flavor": {"vcpus": 1, "ram_mb": 128, "extra_specs": {"hw:mem_page_size": "2MB"}}}


def files(folder: Path, config: str, request: object) -> list[str]:
    (folder / "cellwright.toml").write_text("[host]\n" + config)
    (folder / "r.json").write_text(json.dumps(request))
    return ["--config", str(folder / "cellwright.toml"), "--request", str(folder / "r.json")]


@pytest.mark.parametrize(
    ("config", "request_", "code"),
    [
        ("", FLOATING, 0),
        ("cpu_allocation_ratio = 1.0\n", FLOATING, 0),
        ("cpu_allocation_ratio = 0.5\n", FLOATING, 3),
        ("ram_allocation_ratio = 0.2\n", FLOATING, 3),
        ("", HUGE, 0),
        ("reserved_huge_pages = [{cell = 0, size_kib = 2048, count = 1}]\n", HUGE, 0),  # cell 1 has all of its pages
        (
            "reserved_huge_pages = [{cell = 0, size_kib = 2048, count = 1}, {cell = 1, size_kib = 2048, count = 1}]\n",
            HUGE,
            3,
        ),
        ("reserved_memory_mb = {0 = 4000, 1 = 4000}\n", FLOATING, 3),
    ],
)
@pytest.mark.parametrize("verb", ["place", "capacity", "explain"])
def test_settings_bind_every_verb_that_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, config: str, request_: object, code: int
) -> None:
    assert main([verb, *HOST, *files(tmp_path, config, request_)]) == code
    capsys.readouterr()


def test_packing_decides_which_cell_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    used = tmp_path / "usage.json"
    used.write_text('{"cells": [{"id": 0, "pinned": "0"}]}')
    pinned = {"name": "p", "flavor": {"vcpus": 1, "ram_mb": 64, "extra_specs": {"hw:cpu_policy": "dedicated"}}}
    cells = {}
    for packing in ("pack", "spread"):
        wanted = files(tmp_path, f'packing = "{packing}"\n', pinned)
        assert main(["place", *HOST, "--usage", str(used), "--format", "json", *wanted]) == 0
        cells[packing] = json.loads(capsys.readouterr().out)["cells"][0]["host_cell"]
    assert cells == {"pack": 0, "spread": 1}


def test_a_limits_file_stands_instead_of_the_settings(tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"cpu_allocation_ratio": 2.0}')
    wanted = files(tmp_path, "cpu_allocation_ratio = 0.5\n", FLOATING)
    assert main(["place", *HOST, *wanted]) == 3
    assert main(["place", *HOST, *wanted, "--limits", str(limits)]) == 0


@pytest.mark.parametrize("verb", ["place", "capacity", "explain"])
def test_a_request_is_checked_whole_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    bad = {"name": "x", "flavor": {"vcpus": 1, "ram_mb": 64, "extra_specs": {"hw:pci_numa_affinity_policy": "near"}}}
    assert main([verb, *HOST, *files(tmp_path, "", bad)]) == 2
    assert "hw:pci_numa_affinity_policy=near" in capsys.readouterr().err


def test_create_obeys_the_settings_too(tmp_path: Path, libvirt_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = files(tmp_path, "ram_allocation_ratio = 0.000001\n", FLOATING)
    create = ["create", "--dry-run", "--connect", libvirt_uri, "--state-dir", str(tmp_path), *wanted]
    assert main(create) == 3
    assert "does not fit" in capsys.readouterr().out
