"""The Topology document of small trees, whole and damaged."""

from pathlib import Path

import pytest

from agent.core.codec import encode
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import PagePool
from agent.inspection.document import read_document
from agent.inspection.files import Root
from agent.inspection.host import read_host
from tests.inspection.trees import CPU, NODE, two_cells, write


def test_a_host_with_two_cells_and_an_offline_cpu(tmp_path: Path) -> None:
    host = read_host(str(write(tmp_path, two_cells())))
    assert (host.online, host.offline) == (CpuSet.parse("0-6"), CpuSet([7]))
    assert (host.sockets, host.dies, host.cores, host.threads_per_core, host.smt) == (2, 2, 4, 2, True)
    cell = host.cells[1]
    assert cell.cpus == CpuSet([2, 3, 6]), "the kernel's list names offline CPUs; a cell has online ones"
    assert [str(core.cpus) for core in cell.cores] == ["2,6", "3"]
    assert (cell.memory_kib, cell.free_kib, cell.distances) == (4194304, 1048576, {0: 21, 1: 10})
    assert cell.pages == (PagePool(4, (4194304 - 512 * 2048) // 4, 262144), PagePool(2048, 512, 100))
    assert [(cache.level, str(cache.cpus)) for cache in cell.caches] == [(3, "2-3,6")]
    assert host.nohz_full == CpuSet()
    assert host.allowed == host.online
    assert (host.cpu.model, host.arch) == ("Named", "x86_64")


def test_the_plain_document_and_the_typed_one_are_the_same_json(tmp_path: Path) -> None:
    import json

    write(tmp_path, two_cells())
    assert json.dumps(read_document(Root(str(tmp_path))), separators=(",", ":")).encode() == encode(
        read_host(str(tmp_path))
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (f"{CPU}/online", "5-3\n"),
        (f"{CPU}/online", "0-"),
        (f"{CPU}/isolated", b"\xff\xfe\x00"),
        (f"{CPU}/cpu0/topology/core_id", "one\n"),
        (f"{CPU}/cpu2/topology/thread_siblings_list", "a"),
        (f"{CPU}/cpu2/cache/index0/size", "big"),
        (f"{NODE}/node1/meminfo", "garbage"),
        (f"{NODE}/node1/distance", "near"),
        (f"{NODE}/node0/cpulist", "^"),
        (f"{NODE}/node0/hugepages/hugepages-2048kB/nr_hugepages", "many"),
        ("proc/cpuinfo", b"\x00\x01\x02binary"),
        ("proc/self/status", "Name: x\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: str | bytes) -> None:
    write(tmp_path, two_cells() | {file: content})
    with pytest.raises(BadInput) as error:
        read_host(str(tmp_path))
    assert file in str(error.value)


@pytest.mark.parametrize(
    ("files", "online"), [(("cpu/online", "node/"), "0-6"), (("node/",), "0-7"), (("cpu/online",), "0-6")]
)
def test_without_cpu_folders_the_lists_tell_which_cpus_there_are(
    tmp_path: Path, files: tuple[str, ...], online: str
) -> None:
    parts = {name: text for name, text in two_cells().items() if any(f"system/{part}" in name for part in files)}
    host = read_host(str(write(tmp_path, parts)))
    assert str(host.online) == online
    assert "offline" in host.unknown
    assert "siblings (no topology folder: each pCPU counts as a core)" in host.unknown
    assert (host.cores, host.threads_per_core, host.smt) == (None, None, None)
    cells = [cell.cpus & host.online for cell in host.cells]
    assert cells == (
        [CpuSet.parse("0-1,4-5"), CpuSet.parse("2-3,6-7") & host.online] if "node/" in files else [host.online]
    )


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing tells which CPUs run"):
        read_host(str(tmp_path))


def test_a_folder_without_a_name_is_not_this_host() -> None:
    with pytest.raises(BadInput, match="'' names no folder"):
        read_host("")


def test_this_host_is_read() -> None:
    host = read_host()
    assert host.online
    assert host.cells
    assert host.collected_at
