"""Kernels that say the same in other ways, or say less: small trees made by hand, one sentence a row.

All start from the machine of trees.two_cells: two sockets of two cores of two threads, a cell each, CPU 7 offline.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology, PagePool
from agent.core.usage import Usage
from agent.inspection.archive import Archive
from agent.inspection.cpuinfo import parse_cpuinfo
from agent.inspection.host import read_host
from agent.inspection.snapshot import Recorder
from agent.placement import place
from tests.inspection.trees import CPU, NODE, two_cells

Tree = dict[str, str]


def tree(*changes: Callable[[Tree], None]) -> Archive:
    files = {name: str(content) for name, content in two_cells().items()}
    for change in changes:
        change(files)
    return Archive("made", {name: content.encode() for name, content in files.items()}, {}, set())


def without(*endings: str) -> Callable[[Tree], None]:
    def change(files: Tree) -> None:
        for name in [name for name in files if name.endswith(endings)]:
            del files[name]

    return change


def holding(text: str, *endings: str) -> Callable[[Tree], None]:
    """Every file whose name ends so holds this text."""

    def change(files: Tree) -> None:
        for name in [name for name in files if name.endswith(endings)]:
            files[name] = text

    return change


def put(**at: str) -> Callable[[Tree], None]:
    """Files by the last words of their names: ``cpu__online`` is the CPU folder's file ``online``."""
    folders = {"cpu": CPU, "node": NODE, "proc": "proc", "dev": "dev"}

    def change(files: Tree) -> None:
        for key, text in at.items():
            first, _, rest = key.partition("__")
            files[f"{folders[first]}/{rest.replace('__', '/')}"] = text

    return change


def as_masks(files: Tree) -> None:
    """Lists as the masks of kernels before 2.6.26: same name without ``_list``, hexadecimal."""
    for name in [name for name in files if name.endswith(("_list", "cpulist"))]:
        mask = f"{CpuSet.parse(files.pop(name)).mask:08x}\n"
        files[name.removesuffix("_list") if name.endswith("_list") else name.replace("cpulist", "cpumap")] = mask
    for name in [name for name in files if name.endswith("/shared_cpu")]:
        files[name + "_map"] = files.pop(name)


def linked_cells(files: Tree) -> None:
    """No list and no mask in the cells, but links to their CPUs, which a saving tool made folders of."""
    for cell, cpus in enumerate(("0-1,4-5", "2-3,6-7")):
        del files[f"{NODE}/node{cell}/cpulist"]
        files |= {f"{NODE}/node{cell}/cpu{cpu}/online": "1\n" for cpu in CpuSet.parse(cpus)}


def boards(files: Tree) -> None:
    """Each core is listed as a socket of its own, and the cores of a cell have one package id."""
    for cpu in range(7):
        folder = f"{CPU}/cpu{cpu}/topology"
        files[f"{folder}/core_siblings_list"] = files[f"{folder}/thread_siblings_list"]


def seen(host: HostTopology) -> dict[str, Any]:
    cores = [core for cell in host.cells for core in cell.cores]
    return {
        "online": str(host.online),
        "offline": str(host.offline),
        "allowed": None if host.allowed is None else str(host.allowed),
        "sockets": host.sockets,
        "cells": [str(cell.cpus) for cell in host.cells],
        "cores": [str(core.cpus) for core in cores],
        "core ids": [core.core for core in cores],
        "distances": [cell.distances for cell in host.cells],
        "caches": [(str(cache.cpus), cache.size_kib) for cell in host.cells for cache in cell.caches],
        "memory": [cell.memory_kib for cell in host.cells],
    }


USUAL = seen(read_host(tree()))


class Row(NamedTuple):
    """What is odd, how the tree comes to it, which facts that changes, and a word that ``unknown`` then has."""

    why: str
    changes: tuple[Callable[[Tree], None], ...]
    differs: dict[str, Any]
    unknown: str = ""


ONE_BY_ONE = [str(cpu) for cpu in (0, 1, 4, 5, 2, 3, 6)]

ROWS = [
    Row("before 2.6.26 a CPU runs unless its own switch says 0", (without("cpu/online", "cpu/present"),), {}),
    Row("before 2.6.26 every set is a mask", (as_masks,), {}),
    Row("a blank list of siblings is no list: each CPU is a core", (holding("\n", "thread_siblings_list"),),
        {"cores": ONE_BY_ONE, "core ids": [0, 1, 0, 1, 0, 1, 0]}),
    Row("siblings whose masks are all zero, as old Xen guests have them",
        (as_masks, holding("00000000\n", "thread_siblings")),
        {"cores": ONE_BY_ONE, "core ids": [0, 1, 0, 1, 0, 1, 0]}),
    Row("an offline CPU that keeps its topology folder stays offline",
        (put(cpu__cpu7__topology__core_id="1\n", cpu__cpu7__topology__thread_siblings_list="7\n"),), {}),
    Row("lists copied from a larger machine count where folders are",
        (put(cpu__online="0-6,8-223\n", cpu__present="0-223\n"),), {}),
    Row("a CPU that is present and offline, whose folder had nothing to save", (without("cpu7/online"),), {}),
    Row("files that went through Windows",
        (lambda files: files.update({name: text.replace("\n", "\r\n") for name, text in files.items()}),), {}),
    Row("Cluster-on-Die on Linux 4.x: one package id, core_siblings cut in two",
        (holding("0\n", "physical_package_id"),), {"sockets": 1}),
    Row("ia64: the firmware's id of a board, of which each processor is a socket", (boards,), {"sockets": 4},
        "socket ids (numbered by lowest pCPU)"),
    Row("caches that tell their sharers by mask alone",
        (without("shared_cpu_list"), lambda files: files.update({
            f"{CPU}/cpu{cpu}/cache/index0/shared_cpu_map": "33\n" if cpu in (0, 1, 4, 5) else "4c\n" for cpu in range(7)
        })), {}),
    Row("a cache whose size could not be read (POWER: ENODEV), saved as an empty file",
        (holding("", "index0/size"),), {"caches": [("0-1,4-5", None), ("2-3,6", None)]}),
    Row("a cache without sharers is not told", (without("shared_cpu_list"),), {"caches": []}, "caches"),
    Row("package ids -1 (ARM without PPTT): sockets are what core_siblings says",
        (holding("-1\n", "physical_package_id"),), {}, "socket ids (numbered by lowest pCPU)"),
    Row("no package ids at all", (without("physical_package_id"),), {}, "socket ids (numbered by lowest pCPU)"),
    Row("core ids that could not be read leave the cores where they are",
        (holding("", "core_id"),), {"core ids": [None] * 4}, "core ids"),
    Row("cells' CPUs as links alone", (linked_cells,), {}),
    Row("no distance files", (without("distance"),), {"distances": [{}, {}]}, "distances"),
    Row("a row of distances with a number missing is not guessed at",
        (put(node__node1__distance="21\n"),), {"distances": [{0: 10, 1: 21}, {}]}, "distances (node1: 1 numbers for 2"),
    Row("a cell was taken from the tree: its distances are still in the other rows",
        (put(node__online="0-2\n", node__node0__distance="10 21 31\n", node__node1__distance="21 10 31\n"),), {}),
    Row("a kernel built without NUMA: one cell", (lambda files: [files.pop(n) for n in list(files) if NODE in n],),
        {"cells": ["0-6"], "cores": ["0,4", "1,5", "2,6", "3"], "distances": [{}], "memory": [None]}, "NUMA"),
    Row("firmware that gives pCPUs to two cells", (put(node__node1__cpulist="0-7\n"),), {"cells": ["0-1,4-5", "0-6"]},
        "cells of pCPUs 0-1,4-5 (several list them)"),
    Row("a folder whose number no kernel gives a cell", (put(node__node99999__distance="10\n"),), {}),
    Row("meminfo of the cells could not be read", (without("meminfo"),), {"memory": [None, None]}, "memory"),
    Row("a cpuset file system on /dev/cpuset, from before cgroups",
        (without("proc/self/status"), put(
            proc__self__cpuset="/batch\n", proc__mounts="none /dev/cpuset cpuset rw 0 0\n",
            dev__cpuset__batch__cpus="1,5-7\n"
        )), {"allowed": "1,5-6"}),
    Row("a process's status with the mask alone", (put(proc__self__status="Name:\tx\nCpus_allowed:\t0f\n"),),
        {"allowed": "0-3"}),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.why)
def test_what_an_odd_kernel_says_is_understood(row: Row) -> None:
    host = read_host(tree(*row.changes))
    assert seen(host) == USUAL | row.differs
    assert row.unknown in " ".join(host.unknown)


def test_an_online_list_that_names_no_folder_is_one_clear_error() -> None:
    with pytest.raises(BadInput, match="made:sys/devices/system/cpu/online: none of the CPUs"):
        read_host(tree(put(cpu__online="64-71\n")))


def switched_off(files: Tree) -> None:
    """No lists, and a switch for CPU 1 alone, which is none of the three whose switches are looked at first."""
    for name in [
        name for name in files if "cpu1/" in name or "cpu7/" in name or name.endswith(("/online", "/present"))
    ]:
        del files[name]
    files[f"{CPU}/cpu1/online"] = "0\n"


@pytest.mark.parametrize("absent", ["nothing else", "core_id"])
def test_without_lists_every_cpu_is_asked_once_one_turns_out_to_be_offline(absent: str) -> None:
    host = read_host(tree(switched_off, without(absent)))
    assert (str(host.online), str(host.offline)) == ("0,2-6", "1")
    assert [str(core.cpus) for cell in host.cells for core in cell.cores] == ["0,4", "5", "2,6", "3"]


def capacities(*by_core: int) -> Callable[[Tree], None]:
    """ARM and RISC-V: what the CPUs of each core can do, the fastest 1024."""

    def change(files: Tree) -> None:
        for cpu in range(7):
            files[f"{CPU}/cpu{cpu}/cpu_capacity"] = f"{by_core[cpu % 4]}\n"

    return change


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (capacities(1024, 1024, 1024, 1024), [None] * 4),
        (capacities(446, 446, 1024, 1024), ["efficiency", "efficiency", "performance", "performance"]),
        (capacities(250, 760, 760, 1024), ["efficiency", "middle", "middle", "performance"]),
        # NVIDIA GB10: two designs of core, each with clocks of its own in every cluster
        (capacities(718, 997, 731, 1024), ["efficiency", "performance", "efficiency", "performance"]),
        (lambda files: files.update({"sys/devices/cpu_core/cpus": "0-1,4-5\n"}),
         ["performance", "performance", "efficiency", "efficiency"]),
    ],
)  # fmt: skip
def test_cores_of_a_hybrid_part_are_told_apart(change: Callable[[Tree], None], kinds: list[str | None]) -> None:
    assert [core.kind for cell in read_host(tree(change)).cells for core in cell.cores] == kinds


def power(files: Tree) -> None:
    """Cells 0 and 8, memory-only cells of two GPUs far away, 64 KiB base pages, huge pages of 16 MiB and 16 GiB."""
    for name in [name for name in files if name.startswith(NODE) or name == "proc/cpuinfo"]:
        del files[name]
    files["proc/cpuinfo"] = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 3783MHz\n"
    rows = {0: "10 40 80 80", 8: "40 10 80 80", 254: "80 80 10 80", 255: "80 80 80 10"}
    files[f"{NODE}/online"] = "0,8,254-255\n"
    for cell, row in rows.items():
        folder = f"{NODE}/node{cell}"
        files[f"{folder}/cpulist"] = {0: "0-1,4-5\n", 8: "2-3,6\n"}.get(cell, "\n")
        files[f"{folder}/distance"] = row + "\n"
        files[f"{folder}/meminfo"] = f"Node {cell} MemTotal: {1 << 26} kB\nNode {cell} MemFree: {1 << 20} kB\n"
        for size, count in ((16384, 8), (16777216, cell == 0)):
            files[f"{folder}/hugepages/hugepages-{size}kB/nr_hugepages"] = f"{int(count)}\n"
            files[f"{folder}/hugepages/hugepages-{size}kB/free_hugepages"] = f"{int(count)}\n"


def test_power_has_large_pages_and_memory_far_from_any_pcpu() -> None:
    host = read_host(tree(power))
    assert host.arch == "ppc64"
    assert {cell.id: str(cell.cpus) for cell in host.cells} == {0: "0-1,4-5", 8: "2-3,6", 254: "", 255: ""}
    assert host.cells[2].distances == {0: 80, 8: 80, 254: 10, 255: 80}
    pools = {16384: 8, 16777216: 1}
    base = ((1 << 26) - sum(size * count for size, count in pools.items())) // 64
    huge = tuple(PagePool(size, count, count) for size, count in pools.items())
    assert host.cells[0].pages == (PagePool(64, base, (1 << 20) // 64), *huge)
    assert host.cells[0].huge_pools() == huge


def high_bandwidth(files: Tree) -> None:
    """Knights Landing in flat mode: each cell with pCPUs has a memory-only one beside it, at distance 31, not 21."""
    files[f"{NODE}/online"] = "0-3\n"
    rows = ("10 21 31 41", "21 10 41 31", "31 41 10 41", "41 31 41 10")
    for cell, row in enumerate(rows):
        files[f"{NODE}/node{cell}/distance"] = row + "\n"
    for cell in (2, 3):
        files[f"{NODE}/node{cell}/cpumap"] = files[f"{NODE}/node{cell}/cpulist"] = "\n"
        files[f"{NODE}/node{cell}/meminfo"] = f"Node {cell} MemTotal: 4194304 kB\nNode {cell} MemFree: 4194304 kB\n"


def test_memory_without_pcpus_is_a_cell_of_its_own() -> None:
    host = read_host(tree(high_bandwidth))
    assert [str(cell.cpus) for cell in host.cells] == ["0-1,4-5", "2-3,6", "", ""]
    assert [cell.cores for cell in host.cells[2:]] == [(), ()]
    assert [cell.memory_kib for cell in host.cells[2:]] == [4194304, 4194304]
    assert [cell.distances[0] for cell in host.cells] == [10, 21, 31, 41]


def mainframe(files: Tree) -> None:
    """s390x: every book counts its sockets from 0, every drawer its books; no dies, no caches, no cells."""
    for name in [name for name in files if name.startswith(NODE) or "/cache/" in name or "/die_" in name]:
        del files[name]
    for cpu in range(8):
        folder = f"{CPU}/cpu{cpu}/topology"
        pair = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        files |= {
            f"{folder}/core_id": f"{cpu % 2}\n",
            f"{folder}/physical_package_id": "0\n",
            f"{folder}/book_id": f"{cpu // 2 % 2}\n",
            f"{folder}/drawer_id": f"{cpu // 4}\n",
            f"{folder}/thread_siblings_list": f"{cpu}\n",
            f"{folder}/core_siblings_list": pair + "\n",
            f"{folder}/book_siblings_list": pair + "\n",
            f"{folder}/drawer_siblings_list": f"{cpu // 4 * 4}-{cpu // 4 * 4 + 3}\n",
        }
    files[f"{CPU}/online"] = "0-7\n"


def test_books_that_all_have_id_0_are_told_apart_by_their_lists() -> None:
    drawers = without("drawer_id", "drawer_siblings_list")
    host = read_host(tree(mainframe, drawers, holding("0\n", "book_id")))
    cores = host.cells[0].cores
    assert [core.book for core in cores] == [core.socket for core in cores] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_sockets_that_all_have_id_0_are_told_apart_by_book_and_drawer() -> None:
    host = read_host(tree(mainframe))
    cores = host.cells[0].cores
    assert (host.sockets, host.dies, host.cores, host.smt) == (4, None, 8, False)
    assert [core.socket for core in cores] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [(core.book, core.drawer) for core in cores[::2]] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert "dies" in host.unknown


@pytest.mark.parametrize(
    ("sizes", "base"),
    [((2048, 1048576), 4), ((64, 2048, 32768, 1048576), 4), ((2048, 32768, 1048576), 16), ((2048, 524288), 64)],
)
def test_memory_of_a_tree_without_an_architecture_is_room_for_guests(sizes: tuple[int, ...], base: int) -> None:
    pools = {f"{NODE}/node{cell}/hugepages/hugepages-{size}kB/nr_hugepages": "0\n" for cell in (0, 1) for size in sizes}
    host = read_host(tree(without("cpuinfo", "nr_hugepages", "free_hugepages"), lambda files: files.update(pools)))
    assert host.arch is None
    assert host.cells[0].pages[0] == PagePool(base, 4194304 // base, 1048576 // base)
    assert f"base page size (taken as {base} KiB)" in host.unknown
    request = Request(flavor=Flavor(vcpus=2, ram_mb=4096, extra_specs={"hw:cpu_policy": "dedicated"}))
    assert place(host, Usage(), request).fits


def test_huge_pages_of_a_cell_whose_memory_is_unknown_are_no_base_pages() -> None:
    cell = read_host(tree(without("meminfo"))).cells[0]
    assert cell.pages == cell.huge_pools() == (PagePool(2048, 512, 100),)


CPUINFO = {
    "LoongArch": (
        "system type\t\t: generic-loongson-machine\n\nprocessor\t\t: 0\npackage\t\t\t: 0\ncore\t\t\t: 0\n"
        "CPU Family\t\t: Loongson-64bit\nModel Name\t\t: Loongson-3A5000\nISA\t\t\t: loongarch32 loongarch64\n"
        "Features\t\t: cpucfg lam lsx\n",
        ("loongarch64", None, "Loongson-3A5000", ["cpucfg", "lam", "lsx"]),
    ),
    "Itanium": (
        "processor  : 0\nvendor     : GenuineIntel\narch       : IA-64\nfamily     : Itanium 2\nmodel      : 1\n"
        "features   : branchlong, 16-byte atomic ops\n",
        ("ia64", "GenuineIntel", "Itanium 2", ["branchlong", "16-byte", "atomic", "ops"]),
    ),
    "PA-RISC, whose kernel may have 32 or 64 bits": (
        "processor\t: 0\ncpu family\t: PA-RISC 2.0\ncpu\t\t: PA8800 (Mako)\ncapabilities\t: os64\n",
        (None, None, "PA8800 (Mako)", []),
    ),
    "SPARC": (
        "cpu\t\t: UltraSparc T1 (Niagara)\nfpu\t\t: UltraSparc T1 integrated FPU\ntype\t\t: sun4v\n"
        "ncpus probed\t: 2\nCPU0:\t\tonline\nCPU1:\t\tonline\n",
        ("sparc64", None, "UltraSparc T1 (Niagara)", []),
    ),
    "alpha without SMP, which counts no CPUs": (
        "cpu\t\t\t: Alpha\ncpu model\t\t: EV56\ncycle frequency [Hz]\t: 500000000\nplatform string\t: AlphaPC\n",
        ("alpha", None, "EV56", []),
    ),
    "m68k, which names no processors": (
        "CPU:\t\t68040\nMMU:\t\t68040\nFPU:\t\t68040\nClocking:\t32.0MHz\nBogoMips:\t21.40\n",
        (None, None, "68040", []),
    ),
    "s390": (
        "vendor_id       : IBM/S390\n# processors    : 1\nfeatures\t: esan3 zarch\n"
        "processor 0: version = FF,  identification = 0,  machine = 2964\n",
        ("s390x", "IBM/S390", None, ["esan3", "zarch"]),
    ),
    "MIPS, whose kernel may have 32 or 64 bits": (
        "system type\t\t: EBB6800\nprocessor\t\t: 0\ncpu model\t\t: Cavium Octeon II V0.1\n"
        "isa\t\t\t: mips1 mips2 mips64r2\n",
        (None, None, "Cavium Octeon II V0.1", ["mips1", "mips2", "mips64r2"]),
    ),
    "POWER": (
        "processor\t: 0\ncpu\t\t: POWER9, altivec supported\n\ntimebase\t: 512000000\nplatform\t: PowerNV\n",
        ("ppc64", None, "POWER9, altivec supported", []),
    ),
}


@pytest.mark.parametrize("name", CPUINFO)
def test_each_architecture_names_its_cpus_in_its_own_way(name: str) -> None:
    text, expected = CPUINFO[name]
    info = parse_cpuinfo(text)
    assert (info.arch, info.vendor, info.model, info.flags) == expected
    assert 0 in info.cpus


def test_cores_of_a_hybrid_part_are_known_from_its_cpuinfo_alone() -> None:
    """Two cores of two threads and two of one: as many threads a core as the largest have."""
    cores = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 3}
    text = "\n\n".join(
        f"processor: {cpu}\nphysical id: 0\nsiblings: 6\ncore id: {core}\ncpu cores: 4" for cpu, core in cores.items()
    )
    host = read_host(Archive("made", {"proc/cpuinfo": text.encode()}, {}, set()))
    assert [str(core.cpus) for core in host.cells[0].cores] == ["0-1", "2-3", "4", "5"]
    assert (host.cores, host.threads_per_core, host.smt) == (4, 2, True)


@pytest.mark.parametrize(
    ("rest", "running"),
    [("", {0}), ("cpus active\t\t: 4\ncpu active mask\t\t: 0000000000000095\n", {0, 2, 4, 7})],
    ids=["a kernel without SMP", "one with SMP"],
)
def test_alpha_detects_cpus_that_do_not_run(rest: str, running: set[int]) -> None:
    text = "cpu\t\t\t: Alpha\ncpu model\t\t: EV68CB\ncpus detected\t\t: 8\n"
    assert set(parse_cpuinfo(text + rest).cpus) == running


def test_the_last_of_a_socket_is_known_to_share_its_core_with_nobody() -> None:
    """128 sockets of two CPUs are 128 files less; whoever is alone in its socket is asked still."""
    files: Tree = {f"{CPU}/online": "0-4\n"}
    sockets = ((0, 3), (1, 2), (4,))
    for number, members in enumerate(sockets):
        for cpu in members:
            files |= {
                f"{CPU}/cpu{cpu}/topology/physical_package_id": f"{number}\n",
                f"{CPU}/cpu{cpu}/topology/core_id": f"{cpu}\n",
                f"{CPU}/cpu{cpu}/topology/core_siblings": f"{sum(1 << member for member in members):08x}\n",
                f"{CPU}/cpu{cpu}/topology/thread_siblings": f"{1 << cpu:08x}\n",
            }
    recorder = Recorder(Archive("made", {name: text.encode() for name, text in files.items()}, {}, set()))
    host = read_host(recorder)
    assert [(core.socket, str(core.cpus)) for cell in host.cells for core in cell.cores] == [
        (0, "0"), (1, "1"), (1, "2"), (0, "3"), (2, "4"),
    ]  # fmt: skip
    asked = [cpu for cpu in range(5) if f"{CPU}/cpu{cpu}/topology/thread_siblings" in recorder.files]
    assert asked == [0, 1, 4]
