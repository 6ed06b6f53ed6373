"""104 saved machines against what lscpu, hwloc, libvirt and numactl agree on.

The expectations hold what at least two of the four say, or the one that can say it; EXCEPTIONS are the cases where they
are wrong or cannot know, each with what the kernel's documents or source say.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from agent.cli.topology import FORMATS, render
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import Core, HostTopology
from agent.inspection.archive import Archive
from agent.inspection.document import read_document
from agent.inspection.files import LONGEST
from agent.inspection.host import read_host
from agent.inspection.snapshot import Recorder
from tests.inspection.conftest import PARTIAL


class Case(NamedTuple):
    """Why ours differs from the peers on one machine, and the kernel's own word: file of its tree, and what it says."""

    why: str
    witness: str


ABI = "Documentation/ABI/stable/sysfs-devices-system-cpu: "
CACHE_ABI = "Documentation/ABI/testing/sysfs-devices-system-cpu: "
NO_TOPOLOGY = (
    "libvirt alone, which takes one socket of single cores where there is no topology folder; /proc/cpuinfo tells more"
)
CPUINFO = (
    "arch/x86/kernel/cpu/proc.c, show_cpuinfo_core(): 'physical id' and 'core id' are the package and core ids that"
    " sysfs would show, 'siblings' counts the package's threads and 'cpu cores' its cores"
)
MCDRAM = Case(
    "hwloc adds MCDRAM as an L3 of each cell, from a file that its own tool wrote from the firmware's tables",
    "Documentation/admin-guide/mm/numaperf.rst: a cache in front of memory belongs to a node and is told in"
    " node/nodeX/memory_side_cache; cpu/cpuN/cache holds the CPUs' caches, and has no L3 in this tree",
)

EXCEPTIONS = {
    ("sockets", "hwloc/28em64t-2s2n7c-buggycoresiblings"): Case(
        "core_siblings is cut at the cell (Cluster-on-Die); physical_package_id is 0 and 1",
        ABI + "package_cpus, once core_siblings, has all CPUs of the same physical_package_id;"
        " and arch/x86/kernel/smpboot.c, match_pkg(): unlike other levels a package is not kept inside a node",
    ),
    ("sockets", "hwloc/32ppc-4n4c2c"): Case(
        "libvirt alone, which takes one socket where no file has a package id or siblings; ours are unknown",
        "Documentation/cputopology.txt of Linux 2.6.16: \"If an attribute isn't defined on an architecture, it won't be"
        ' exported"; its include/asm-powerpc/topology.h defines no topology_physical_package_id, nor any of the others,'
        " and this tree's topology folders are empty",
    ),
    ("sockets", "util-linux/x86_64-dell_poweredge1950"): Case(f"{NO_TOPOLOGY}: physical id 0 and 1", CPUINFO),
    ("cores", "libvirt/hostcpu-test1"): Case(
        "thread_siblings_list of cpu1 is '0': damaged, so cpu1 stands alone",
        ABI + "core_cpus_list, once thread_siblings_list, has the CPUs within the same core: CPU N is in its own",
    ),
    ("cores", "pcp/sysdev-root-002"): Case(f"{NO_TOPOLOGY}: 4 cores of two threads", CPUINFO),
    ("smt", "pcp/sysdev-root-002"): Case(f"{NO_TOPOLOGY}: 4 cores of two threads", CPUINFO),
    ("threads", "pcp/sysdev-root-002"): Case(f"{NO_TOPOLOGY}: 4 cores of two threads", CPUINFO),
    ("distances", "hwloc/offline-cpu0-node0"): Case(
        "node1/distance has two numbers, 21 and 10, though node1 alone is online: they are of cells 0 and 1",
        "drivers/acpi/numa/srat.c, slit_valid(): a table is used only when each node's distance to itself is"
        " LOCAL_DISTANCE, 10, and all others are larger; so the 10 is node1's own, and second in the row",
    ),
    ("caches", "hwloc/40intel64-4n10c+pci-conflicts"): Case(
        "hwloc drops a socket's L3 for a damaged mask (cpu2: 0000000f); its list is sane",
        "arch/x86/kernel/cpu/intel_cacheinfo.c, show_shared_cpu_map_func(): map and list are the same cpumask printed"
        " in two ways, so where they differ one was changed after it was read",
    ),
    ("caches", "hwloc/64intel64-fakeKNL-A2A-cache"): MCDRAM,
    ("caches", "hwloc/64intel64-fakeKNL-SNC4-hybrid"): MCDRAM,
    ("caches", "hwloc/8ia64-2s2c2t"): Case(
        "hwloc guesses the sharers of caches whose shared_cpu_map is empty; ours are the CPU's own",
        "arch/ia64/kernel/topology.c, cache_shared_cpu_map_setup(): the map stays empty where the firmware does not"
        " answer who shares the cache, which then nobody knows",
    ),
    ("caches", "libvirt/caps-caches"): Case(
        "the peers were given no cache files; the tree has them",
        CACHE_ABI + "cache/index*/shared_cpu_map has the CPUs that share the cache, size its size, level and type what"
        " it is",
    ),
}


def cores_of(host: HostTopology) -> list[Core]:
    return [*(core for cell in host.cells for core in cell.cores), *host.outside_cells]


def sockets(host: HostTopology, said: dict[str, Any]) -> tuple[object, object]:
    by_socket: dict[int, CpuSet] = {}
    for core in cores_of(host):
        if core.socket is not None:
            by_socket[core.socket] = by_socket.get(core.socket, CpuSet()) | core.cpus
    return as_sets(by_socket.values()), said["sockets"] and as_sets(said["sockets"])


def cores(host: HostTopology, said: dict[str, Any]) -> tuple[object, object]:
    return as_sets(core.cpus for core in cores_of(host)), said["cores"] and as_sets(c["cpus"] for c in said["cores"])


def groups(level: str) -> Callable[[HostTopology, dict[str, Any]], tuple[object, object]]:
    """Books or drawers; a book's number counts inside its drawer."""

    def fact(host: HostTopology, said: dict[str, Any]) -> tuple[object, object]:
        ours: dict[object, CpuSet] = {}
        for core in cores_of(host):
            if getattr(core, level) is not None:
                place = (core.drawer, getattr(core, level))
                ours[place] = ours.get(place, CpuSet()) | core.cpus
        return as_sets(ours.values()), said[f"{level}s"] and as_sets(said[f"{level}s"])

    return fact


def caches(host: HostTopology, said: dict[str, Any]) -> tuple[object, object]:
    """A cache that spans cells is told in each of them, with that cell's CPUs."""
    ours = {
        (cell.id, cache.level, cache.type, cache.size_kib, str(cache.cpus))
        for cell in host.cells
        for cache in cell.caches
    }
    if said["caches"] is None:
        return None, None
    theirs = {
        (cell.id, cache["level"], cache["type"], cache["size"] >> 10, str(part))
        for cache in said["caches"]
        for cell in host.cells
        if (part := CpuSet(cache["cpus"]) & cell.cpus)
    }
    return sorted(ours, key=str), sorted(theirs, key=str)


def of_cells(
    key: str, ours: Callable[[Any], object]
) -> Callable[[HostTopology, dict[str, Any]], tuple[object, object]]:
    def fact(host: HostTopology, said: dict[str, Any]) -> tuple[object, object]:
        expected = {cell["id"]: cell[key] for cell in said.get("cells") or () if cell.get(key) is not None}
        return {cell.id: ours(cell) for cell in host.cells if cell.id in expected}, expected or None

    return fact


FACTS: dict[str, Callable[[HostTopology, dict[str, Any]], tuple[object, object]]] = {
    "online": lambda host, said: (list(host.online), said["online_cpus"]),
    "offline": lambda host, said: (list(host.offline), said["offline_cpus"]),
    "allowed": lambda host, said: (host.allowed and list(host.allowed), said.get("allowed_cpus")),
    "sockets": sockets,
    "dies": lambda host, said: (host.dies, said["dies"] and len(said["dies"])),
    "books": groups("book"),
    "drawers": groups("drawer"),
    "cores": cores,
    "smt": lambda host, said: (host.smt, said["smt"]),
    "threads": lambda host, said: (host.threads_per_core, (said["threads_per_core"] or {}).get("max")),
    "cells": lambda host, said: (
        [cell.id for cell in host.cells],
        said["cells"] and [cell["id"] for cell in said["cells"]],
    ),
    "cell cpus": of_cells("cpus", lambda cell: list(cell.cpus)),
    "memory": of_cells("memory_kb", lambda cell: cell.memory_kib),
    "distances": of_cells("distances", lambda cell: {str(other): far for other, far in cell.distances.items()}),
    "huge pages": of_cells(
        "hugepages", lambda cell: {str(pool.size_kib): pool.total for pool in cell.pages if pool.size_kib > 64}
    ),
    "caches": caches,
}


@pytest.mark.parametrize("fact", FACTS)
def test_agrees_with_the_peers(fact: str, machines: dict[str, tuple[HostTopology, dict[str, Any]]]) -> None:
    differ = {}
    compared = 0
    for name, (host, said) in machines.items():
        ours, theirs = FACTS[fact](host, said)
        compared += theirs is not None
        if theirs is not None and ours != theirs:
            differ[name] = f"ours {ours}, theirs {theirs}"
    print(f"{fact}: {compared} machines compared")
    assert compared
    assert {name: text for name, text in differ.items() if (fact, name) not in EXCEPTIONS} == {}
    assert {name for excepted, name in EXCEPTIONS if excepted == fact} == set(differ), "an exception that is none"


@pytest.mark.parametrize("form", FORMATS)
def test_every_machine_is_shown_in_every_format(
    form: str, machines: dict[str, tuple[HostTopology, dict[str, Any]]]
) -> None:
    for name, (host, _) in machines.items():
        shown = render(host, form)
        assert shown, name
        if form == "table":
            assert max(map(len, shown.splitlines())) <= 80, name


def test_every_exception_has_the_kernel_as_its_witness() -> None:
    path = re.compile(r"(Documentation|arch|drivers)/[\w./-]+\.?\w+(,| of Linux |:) ?\S")
    assert [case for case, told in EXCEPTIONS.items() if not path.match(told.witness) or not told.why] == []


@pytest.mark.parametrize("name", PARTIAL)
def test_a_tree_without_cpus_is_one_clear_error(name: str, saved: dict[str, Archive]) -> None:
    with pytest.raises(BadInput, match="nothing tells which CPUs run"):
        read_host(saved[name])


def test_every_machine_survives_a_snapshot(
    saved: dict[str, Archive], machines: dict[str, tuple[HostTopology, dict[str, Any]]]
) -> None:
    for name in machines:
        recorder = Recorder(saved[name])
        original = read_document(recorder)
        assert read_document(Archive(name, recorder.files, recorder.links, recorder.folders)) == original, name


def test_no_file_is_read_twice(
    saved: dict[str, Archive], machines: dict[str, tuple[HostTopology, dict[str, Any]]]
) -> None:
    for name in machines:
        seen: list[str] = []

        class Counting(Recorder):
            def read(self, path: str, limit: int = LONGEST) -> bytes | None:
                data = super().read(path, limit)
                if data is not None:
                    seen.append(path)  # noqa: B023  # it lives as long as the loop's round
                return data

        document = read_document(Counting(saved[name]))
        if not any("no topology folder)" in phrase and "pCPUs" in phrase for phrase in document["unknown"]):
            # (one that looked as if a CPU was just unplugged was tried again)
            assert sorted(set(seen)) == sorted(seen), name


def as_sets(groups: Any) -> list[str]:
    return sorted(str(CpuSet(group)) for group in groups)
