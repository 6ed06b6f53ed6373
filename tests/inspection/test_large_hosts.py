"""Hosts larger than any that was saved: 4,096 pCPUs in 128 cells, by lists and by the masks of older kernels."""

import pytest

from agent.core.cpuset import CpuSet
from agent.inspection.archive import Archive
from agent.inspection.host import read_host
from tests.inspection.trees import CPU, NODE

CELLS, CORES, HALF = 128, 16, 2048
"""Siblings are N and N + HALF; a cell is a socket of CORES cores with one L3 and has no neighbour number left out."""


def mask(cpus: CpuSet) -> str:
    """The kernel's form: 32-bit words, the highest first."""
    words = f"{cpus.mask:01024x}"
    return ",".join(words[at : at + 8] for at in range(0, len(words), 8))


def large(*, lists: bool) -> Archive:
    files: dict[str, bytes] = {}

    def put(path: str, value: object) -> None:
        files[path] = f"{value}\n".encode()

    def put_cpus(path: str, cpus: CpuSet, suffix: str) -> None:
        put(path + suffix, cpus) if lists else put(path, mask(cpus))

    if lists:
        put(f"{CPU}/online", f"0-{2 * HALF - 1}")
    for cell in range(CELLS):
        first = [cell * CORES + core for core in range(CORES)]
        cpus = CpuSet(first) | CpuSet(cpu + HALF for cpu in first)
        put(f"{NODE}/node{cell}/cpulist" if lists else f"{NODE}/node{cell}/cpumap", cpus if lists else mask(cpus))
        put(f"{NODE}/node{cell}/distance", " ".join("10" if other == cell else "40" for other in range(CELLS)))
        put(f"{NODE}/node{cell}/meminfo", f"Node {cell} MemTotal: {1 << 28} kB\nNode {cell} MemFree: 1024 kB")
        for cpu in cpus:
            folder = f"{CPU}/cpu{cpu}"
            put(f"{folder}/topology/core_id", cpu % HALF % CORES)
            put(f"{folder}/topology/physical_package_id", cell)
            put_cpus(f"{folder}/topology/thread_siblings", CpuSet([cpu % HALF, cpu % HALF + HALF]), "_list")
            put_cpus(f"{folder}/topology/core_siblings", cpus, "_list")
            put(f"{folder}/cache/index0/level", 3)
            put(f"{folder}/cache/index0/type", "Unified")
            put(f"{folder}/cache/index0/size", "65536K")
            put(f"{folder}/cache/index0/shared_cpu_map", mask(cpus))
    return Archive("large", files, {}, set())


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "masks"])
def test_every_pcpu_is_where_it_belongs(lists: bool) -> None:
    host = read_host(large(lists=lists))
    assert (len(host.online), len(host.cells), host.sockets, host.cores) == (2 * HALF, CELLS, CELLS, HALF)
    assert (host.threads_per_core, host.outside_cells) == (2, ())
    last = host.cells[-1]
    assert last.cpus == CpuSet.parse("2032-2047,4080-4095")
    assert [str(core.cpus) for core in last.cores] == [f"{cpu},{cpu + HALF}" for cpu in range(2032, 2048)]
    assert [(cache.size_kib, cache.cpus) for cache in last.caches] == [(65536, last.cpus)]
    assert last.distances == {other: 10 if other == 127 else 40 for other in range(CELLS)}
    assert {cell.memory_kib for cell in host.cells} == {1 << 28}
