"""The text views of named hosts, against golden files that are read as diffs (--regenerate)."""

import subprocess
from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.topology import HostTopology
from agent.inspection.host import read_host
from agent.picture.cpus import render_cpus
from agent.picture.numactl import render_numactl
from agent.picture.table import render_table, shorten
from tests.hosts import NAMED, host

GOLDEN = Path(__file__).parent / "golden"
VIEWS = {"table": render_table, "numactl": render_numactl, "cpus": render_cpus}
GOLDENS = [("table", name) for name in NAMED] + [("numactl", "osdev-01"), ("numactl", "eight-cells"), ("cpus", "tiny")]


@pytest.mark.parametrize(("view", "name"), GOLDENS)
def test_a_named_host_looks_like_this(view: str, name: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{name}.{view}.txt"
    text = VIEWS[view](host(name))
    if request.config.getoption("--regenerate"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", NAMED)
def test_the_table_fits_80_columns(name: str) -> None:
    assert max(len(line) for line in render_table(host(name)).splitlines()) <= 80


def test_a_document_without_cells_has_no_nodes() -> None:
    text = render_numactl(HostTopology(hostname="h", online=CpuSet([0]), cells=()))
    assert text == "available: 0 nodes ()\nNo distance information available.\n"


def test_numactl_says_the_same_of_this_host_as_numactl_itself() -> None:
    for _ in range(3):  # a balloon may change the host's memory between the two
        said = subprocess.run(["numactl", "--hardware"], capture_output=True, text=True, check=True).stdout.splitlines()
        ours = render_numactl(read_host()).splitlines()
        if [line for line in ours if " size: " in line] == [line for line in said if " size: " in line]:
            break
    free = [number for number, line in enumerate(said) if " free: " in line]  # it changes while we look
    assert [line for n, line in enumerate(ours) if n not in free] == [
        line for n, line in enumerate(said) if n not in free
    ]
    assert all(" free: " in ours[number] for number in free)


@pytest.mark.parametrize(
    ("cpus", "short"),
    [
        ("0-3", "0-3"),
        ("0-108:4", "0-108:4"),
        ("0-36:4,37-39", "0-36:4,37-39"),
        ("0,5", "0,5"),
        ("", ""),
        ("1,9,17", "1,9,17"),
    ],
)
def test_a_shortened_list_reads_back_as_the_same_set(cpus: str, short: str) -> None:
    wanted = CpuSet.parse(cpus)
    assert shorten(wanted) == short
    assert CpuSet.parse(shorten(wanted)) == wanted
