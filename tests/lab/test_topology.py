"""``cellwright topology`` on real kernels, against what was described, and against numactl and lscpu inside."""

import re
from typing import Any

import pytest

from tests.lab.guests import huge_pages
from tests.lab.machine import Machine
from tests.lab.test_machine import everywhere, expected_cells, on_two_cells, parse_cpus
from tests.lab.topologies import TOPOLOGIES


def read_document(lab: Machine) -> dict[str, Any]:
    document: dict[str, Any] = lab.run("cellwright", "topology", "--format", "json").json()
    return document


def read_lscpu(lab: Machine) -> dict[int, tuple[int, int, int | None]]:
    """Each online CPU's core, socket and cell, as lscpu numbers them."""
    lines = lab.run("lscpu", "--parse=CPU,CORE,SOCKET,NODE").stdout.splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    return {int(cpu): (int(core), int(socket), int(cell) if cell else None) for cpu, core, socket, cell in rows}


def check_against_lscpu(lab: Machine, document: dict[str, Any]) -> None:
    """Same online CPUs, same siblings, same cells, same sockets.

    lscpu counts sockets by core_siblings, which the kernel cuts at the cell where a die is a cell of one CPU; there
    physical_package_id says which CPUs share a package, and the described machine has the last word on our count.
    """
    lscpu = read_lscpu(lab)
    ours = {
        cpu: (tuple(parse_cpus(core["cpus"])), core["socket"], cell["id"])
        for cell in document["cells"]
        for core in cell["cores"]
        for cpu in parse_cpus(core["cpus"])
    }
    theirs = {
        cpu: (tuple(other for other, place in lscpu.items() if place[0] == core), socket, cell)
        for cpu, (core, socket, cell) in lscpu.items()
    }
    if len({socket for _, socket, _ in theirs.values()}) != document["sockets"]:
        ours, theirs = ({cpu: (place[0], place[2]) for cpu, place in side.items()} for side in (ours, theirs))
    assert ours == theirs
    assert parse_cpus(document["online"]) == sorted(lscpu)


def read_memory_kib(lab: Machine, cell: int) -> int:
    """What the kernel says that the cell has."""
    return int(re.search(r"MemTotal: +(\d+) kB", lab.read(f"/sys/devices/system/node/node{cell}/meminfo"))[1])  # type: ignore[index]


def without_free_memory(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if not re.match(r"node \d+ free:", line)]


@pytest.fixture(scope="module")
def document(lab: Machine) -> dict[str, Any]:
    """What the machine looks like when nothing was changed."""
    return read_document(lab)


@everywhere
def test_the_document_is_the_described_machine(lab: Machine, document: dict[str, Any]) -> None:
    topology = TOPOLOGIES[lab.name]
    assert [parse_cpus(cell["cpus"]) for cell in document["cells"]] == expected_cells(topology)
    assert (document["sockets"], document["dies"]) == (topology.sockets, topology.sockets * topology.dies)
    assert document["cores"] == topology.sockets * topology.dies * topology.cores
    assert (document["threads_per_core"], document["smt"]) == (topology.threads, topology.threads > 1)
    for here, cell in enumerate(document["cells"]):
        assert cell["memory_kib"] == read_memory_kib(lab, here)
        given_kib = topology.cells[here].memory_mib * 1024
        assert given_kib // 4 <= cell["memory_kib"] <= given_kib  # a kernel with many modules keeps a third of 384 MiB
        for there, distance in cell["distances"].items():
            pair = min(here, int(there)), max(here, int(there))
            assert distance == (10 if here == int(there) else topology.distances[pair])


@everywhere
def test_lscpu_agrees(lab: Machine, document: dict[str, Any]) -> None:
    check_against_lscpu(lab, document)


@everywhere
def test_numactl_prints_the_same(lab: Machine) -> None:
    ours = lab.run("cellwright", "topology", "--format", "numactl").stdout
    theirs = lab.run("numactl", "--hardware").stdout
    assert without_free_memory(ours) == without_free_memory(theirs)


@on_two_cells
def test_a_cpu_goes_offline_and_comes_back(lab: Machine) -> None:
    online = "/sys/devices/system/cpu/cpu5/online"
    lab.shell(f"echo 0 >{online}")
    try:
        document = read_document(lab)
        assert (document["online"], document["offline"]) == ("0-4,6-7", "5")
        assert document["cells"][1]["cpus"] == "4,6-7"
        check_against_lscpu(lab, document)
    finally:
        lab.shell(f"echo 1 >{online}")
    assert read_document(lab)["offline"] == ""


@on_two_cells
def test_siblings_go_when_smt_is_switched_off(lab: Machine) -> None:
    control = "/sys/devices/system/cpu/smt/control"
    lab.shell(f"echo off >{control}")
    try:
        document = read_document(lab)
        assert (document["online"], document["offline"]) == ("0,2,4,6", "1,3,5,7")
        assert document["smt"] is False
        check_against_lscpu(lab, document)
    finally:
        lab.shell(f"echo on >{control}")


@on_two_cells
def test_huge_pages_are_counted_at_their_cell(lab: Machine) -> None:
    with huge_pages(lab, 0, 8):
        pages = [cell["pages"] for cell in read_document(lab)["cells"]]
        totals = [[pool["total"] for pool in pools if pool["size_kib"] == 2048] for pools in pages]
        assert totals == [[0], [8]]


@pytest.mark.parametrize("lab", ["isolated"], indirect=True)
def test_the_kernel_line_isolates_cpus_and_reserves_pages(lab: Machine, document: dict[str, Any]) -> None:
    assert (document["isolated"], document["nohz_full"]) == ("2-3,6-7", "2-3,6-7")
    gigantic = [pool for cell in document["cells"] for pool in cell["pages"] if pool["size_kib"] == 1 << 20]
    folder = "/sys/devices/system/node/node{}/hugepages/hugepages-1048576kB/{}_hugepages"
    told = [tuple(int(lab.read(folder.format(cell, what))) for what in ("nr", "free")) for cell in (0, 1)]
    assert [(pool["total"], pool["free"]) for pool in gigantic] == told
    assert sum(total for total, _ in told) > 0  # which cell has a free GiB in one piece is the boot's luck


@pytest.mark.parametrize("lab", ["2n-pci"], indirect=True)
def test_network_cards_are_at_their_cells(lab: Machine, document: dict[str, Any]) -> None:
    devices = [cell["devices"] for cell in document["cells"]]
    pci = [[device["pci"] for device in at_cell if device["kind"] == "net"] for at_cell in devices]
    assert [len(at_cell) for at_cell in pci] == [1, 1]
    for cell, addresses in enumerate(pci):
        assert lab.read(f"/sys/bus/pci/devices/{addresses[0]}/numa_node") == f"{cell}\n"
