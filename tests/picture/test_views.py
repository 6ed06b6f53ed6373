"""The text views of named hosts, against golden files that are read as diffs (--regenerate)."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.topology import Core, HostTopology
from agent.inspection.host import read_host
from agent.inspection.synthetic import parse_synthetic
from agent.picture.cpus import render_cpus
from agent.picture.numactl import render_numactl
from agent.picture.table import render_table, shorten
from tests.hosts import NAMED, host
from tests.steady import while_memory_stands_still

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


def test_where_sockets_are_unknown_nothing_is_counted_in_one() -> None:
    cores = tuple(Core(socket=None, die=None, core=None, cpus=CpuSet([cpu])) for cpu in range(4))
    text = render_cpus(HostTopology(hostname="h", online=CpuSet(range(4)), outside_cells=cores, cores=4, cells=()))
    assert "siblings in a socket: -\ncores in a socket:    -\ncores in total:       4\n" in text


def test_a_document_without_cells_has_no_nodes() -> None:
    text = render_numactl(HostTopology(hostname="h", online=CpuSet([0]), cells=()))
    assert text == "available: 0 nodes ()\nNo distance information available.\n"


def test_numactl_says_the_same_of_this_host_as_numactl_itself() -> None:
    def look() -> tuple[list[str], list[str]]:
        told = subprocess.run(["numactl", "--hardware"], capture_output=True, text=True, check=True).stdout
        return told.splitlines(), render_numactl(read_host()).splitlines()

    said, ours = while_memory_stands_still(look)
    free = [number for number, line in enumerate(said) if " free: " in line]  # it changes while we look
    assert [line for n, line in enumerate(ours) if n not in free] == [
        line for n, line in enumerate(said) if n not in free
    ]
    assert all(" free: " in ours[number] for number in free)


def test_the_table_tells_where_guests_are() -> None:
    pinned = {"db": CpuSet.parse("4-7,40-43"), "n" * 60: CpuSet([20])}
    floating = {f"web-{number}": CpuSet.parse("0-3") for number in range(12)} | {"alone": CpuSet.parse("18-19")}
    lines = render_table(host("osdev-split"), pinned, floating=floating).splitlines()
    assert lines[lines.index("guests") + 1 :] == [
        "  db: pinned to 4-7,40-43 (cell 0)",
        f"  {'n' * 39}…: pinned to 20 (cell 1)",
        "  floating over 0-3: web-0, web-1, web-10, web-11, web-2, web-3, web-4, web-5,",
        "    web-6, web-7, web-8, web-9",
        "  floating over 18-19: alone",
    ]


def test_many_sockets_of_any_number_in_a_cell_are_counted() -> None:
    seen = parse_synthetic("socket:1 core:24")
    cores = tuple(msgspec.structs.replace(core, socket=2 * number) for number, core in enumerate(seen.cells[0].cores))
    cell = msgspec.structs.replace(seen.cells[0], cores=cores)
    lines = render_table(msgspec.structs.replace(seen, cells=(cell,))).splitlines()
    assert "   0  24 sockets     24  16 GiB  16 GiB  0-23" in lines


def test_sizes_of_l3_groups_come_in_their_order() -> None:
    """NVIDIA GB10: one cluster's L3 is twice as large as the other's."""
    seen = parse_synthetic("l3:2 core:5")
    large, small = (
        msgspec.structs.replace(cache, size_kib=size)
        for cache, size in zip(seen.cells[0].caches, (16384, 8192), strict=True)
    )
    cell = msgspec.structs.replace(seen.cells[0], caches=(large, small))
    assert "cell 0: 2 L3 groups of 8 MiB, 16 MiB\n" in render_table(msgspec.structs.replace(seen, cells=(cell,)))


@pytest.mark.parametrize(
    ("shape", "siblings"),
    [
        ("core:4 thread:8 numbering:near", "siblings     N to N+7 for N of 0-24:8"),
        ("core:4 thread:2 numbering:near", "siblings     N, N+1 for N of 0-6:2"),
        ("core:4", None),
    ],
)
def test_the_table_says_which_threads_share_a_core(shape: str, siblings: str | None) -> None:
    lines = render_table(parse_synthetic(shape)).splitlines()
    assert next((line for line in lines if line.startswith("siblings")), None) == siblings


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
