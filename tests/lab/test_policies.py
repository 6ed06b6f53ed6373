"""Each CPU and memory policy on a real host of two cells, as its user asks for it and as the kernel has it after."""

import json
import re

import pytest

from tests.lab.guests import (
    Guest,
    make_request,
    parse_cpus,
    read_cell_cpus,
    read_free_pages,
    read_siblings,
    render_base,
    started,
)
from tests.lab.machine import Machine

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

SETS = '[host]\ncpu_dedicated_set = "2-3,6-7"\ncpu_shared_set = "0-1,4-5"\n'
POOL = "/sys/devices/system/node/node{cell}/hugepages/hugepages-2048kB/nr_hugepages"


def check_pins(guest: Guest) -> list[int]:
    """Every vCPU thread is on exactly the pCPU of its placement, alone there; these pCPUs, by vCPU."""
    wanted = {int(vcpu): parse_cpus(pin) for cell in guest.placement["cells"] for vcpu, pin in cell["pins"].items()}
    assert guest.read_vcpus() == wanted
    cpus = [cpu for _, pin in sorted(wanted.items()) for cpu in pin]
    assert len(set(cpus)) == len(wanted)
    return cpus


def check_memory(guest: Guest, lab: Machine) -> None:
    """All memory of each guest cell is on its host cell, bound to it, and its vCPUs belong to that cell."""
    cells = [cell["host_cell"] for cell in guest.placement["cells"]]
    memory = guest.read_memory()
    assert {policy: set(pages) for policy, pages in memory.items()} == {f"bind:{cell}": {cell} for cell in cells}
    for cell in guest.placement["cells"]:
        for pin in cell["pins"].values():
            assert parse_cpus(pin) <= read_cell_cpus(lab, cell["host_cell"])


def test_prefer_takes_the_siblings_of_one_core(lab: Machine) -> None:
    request = make_request("prefer", 2, {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "prefer"})
    with started(lab, request) as guest:
        cpus = check_pins(guest)
        check_memory(guest, lab)
        assert read_siblings(lab, cpus[0]) == set(cpus)
        assert guest.read_others() <= read_cell_cpus(lab, guest.placement["cells"][0]["host_cell"])
        assert guest.verify()["proven"]


def test_require_on_two_cells_takes_a_core_and_memory_of_each(lab: Machine) -> None:
    specs = {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": "require", "hw:numa_nodes": "2"}
    with started(lab, make_request("require", 4, specs)) as guest:
        cpus = check_pins(guest)
        check_memory(guest, lab)
        assert sorted(cell["host_cell"] for cell in guest.placement["cells"]) == [0, 1]
        assert read_siblings(lab, cpus[0]) == set(cpus[:2])
        assert read_siblings(lab, cpus[2]) == set(cpus[2:])
        assert guest.verify()["proven"]


def test_isolate_keeps_the_sibling_idle_and_the_emulator_apart(lab: Machine) -> None:
    specs = {
        "hw:cpu_policy": "dedicated",
        "hw:cpu_thread_policy": "isolate",
        "hw:emulator_threads_policy": "isolate",
    }
    with started(lab, make_request("isolate", 1, specs)) as guest:
        cpus = check_pins(guest)
        check_memory(guest, lab)
        core = read_siblings(lab, cpus[0])
        assert core - set(cpus) <= parse_cpus(guest.placement["reserved"])
        assert guest.read_others() == parse_cpus(guest.placement["emulator"])
        assert guest.read_others().isdisjoint(core)
        assert guest.verify()["proven"]


def test_shared_floats_over_the_shared_pcpus_of_its_cell(lab: Machine) -> None:
    lab.write("/etc/cellwright/cellwright.toml", SETS)
    try:
        with started(lab, make_request("shared", 2, {"hw:numa_nodes": "1"})) as guest:
            cell = guest.placement["cells"][0]["host_cell"]
            floats = {0: {0, 1}, 1: {4, 5}}[cell]
            assert guest.read_vcpus() == {0: floats, 1: floats}
            check_memory(guest, lab)
            assert guest.verify()["proven"]
    finally:
        lab.run("rm", "/etc/cellwright/cellwright.toml")


def test_huge_pages_come_from_the_chosen_cell_s_pool(lab: Machine) -> None:
    lab.shell(f"echo 80 >{POOL.format(cell=1)}")
    try:
        assert read_free_pages(lab, 2048) == [0, 80]
        specs = {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2MB"}
        with started(lab, make_request("huge", 2, specs)) as guest:
            check_pins(guest)
            assert read_free_pages(lab, 2048) == [0, 80 - 64]
            memory = guest.read_memory()
            assert {policy: set(pages) for policy, pages in memory.items()} == {"bind:1": {1}}
            assert guest.verify()["proven"]
        assert read_free_pages(lab, 2048) == [0, 80]
    finally:
        lab.shell(f"echo 0 >{POOL.format(cell=1)}")


def test_an_emulator_apart_on_one_cell_starts_with_huge_pages_of_two(lab: Machine) -> None:
    pools = [POOL.format(cell=cell) for cell in (0, 1)]
    lab.shell("".join(f"echo 40 >{pool}\n" for pool in pools))
    try:
        specs = {
            "hw:cpu_policy": "dedicated",
            "hw:numa_nodes": "2",
            "hw:mem_page_size": "2MB",
            "hw:emulator_threads_policy": "isolate",
        }
        with started(lab, make_request("database", 4, specs)) as guest:
            cpus = check_pins(guest)
            assert read_free_pages(lab, 2048) == [8, 8]
            emulator = parse_cpus(guest.placement["emulator"])
            assert len(emulator) == 1
            assert guest.read_others() == emulator
            assert guest.verify()["proven"]
            lab.shell("virsh -q destroy database; virsh -q start database")
            assert emulator < guest.read_others() <= emulator | set(cpus)
            assert {finding["code"] for finding in guest.verify(status=4)["findings"]} == {"mask-differs"}
            lab.run("cellwright", "repair", "database")
            assert guest.read_others() == emulator
            assert guest.verify()["ok"]
    finally:
        lab.shell("".join(f"echo 0 >{pool}\n" for pool in pools))


def test_memory_that_is_gone_before_the_start_leaves_no_half_started_guest(lab: Machine) -> None:
    request = make_request("starved", 2, {"hw:cpu_policy": "dedicated"}, ram_mb=512)
    answer = lab.run("cellwright", "place", "--request", "-", "--format", "json", stdin=json.dumps(request))
    cell = answer.json()["cells"][0]["host_cell"]
    lab.write("/tmp/starved.json", answer.stdout)
    lab.write("/tmp/starved.xml", render_base(request))
    free_kib = int(re.search(r"MemFree: +(\d+)", lab.read(f"/sys/devices/system/node/node{cell}/meminfo"))[1])  # type: ignore[index]
    lab.shell(f"echo {(free_kib - 200 * 1024) // 2048} >{POOL.format(cell=cell)}")
    try:
        create = ("cellwright", "create", "--placement", "/tmp/starved.json", "--domain", "/tmp/starved.xml")
        done = lab.run(*create, status=None)
        assert done.status in (1, 3), str(done)
        assert "starved" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert lab.run("virsh", "-q", "list", "--all", "--name").stdout.split() == []
        assert lab.run("pgrep", "qemu", status=None).stdout == ""
    finally:
        lab.shell(f"echo 0 >{POOL.format(cell=cell)}")
