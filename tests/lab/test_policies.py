"""Each CPU and memory policy on a real host of two cells, as its user asks for it and as the kernel has it after."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.guests import (
    POOL,
    Guest,
    check_no_qemu,
    fill_pool,
    huge_pages,
    make_request,
    parse_cpus,
    read_cell_cpus,
    read_free_pages,
    read_placement,
    read_siblings,
    remove,
    render_base,
    started,
)
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

SETS = '[host]\ncpu_dedicated_set = "2-3,6-7"\ncpu_shared_set = "0-1,4-5"\n'


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
        first, second = (cell["host_cell"] for cell in guest.placement["cells"])
        done = lab.run("cellwright", "migrate-cells", "require", "--to", f"{second},{first}", status=2)
        assert "the kernel keeps the order of cells" in done.stderr
        assert check_pins(guest) == cpus


def check_cell(guest: Guest, cell: int) -> None:
    """The guest's memory is on the cell, and hardly anything of QEMU's is elsewhere."""
    kib = guest.read_cells()
    assert kib[1 - cell] * 20 < kib[cell]
    assert kib[cell] >= 128 * 1024


def test_isolate_keeps_the_sibling_idle_and_the_emulator_apart(lab: Machine) -> None:
    """Its memory is restrictive, which libvirt itself moves when the guest changes its cell."""
    specs = {
        "hw:cpu_policy": "dedicated",
        "hw:cpu_thread_policy": "isolate",
        "hw:emulator_threads_policy": "isolate",
        "hw:numa_nodes": "1",
        "hw:numa_mempolicy": "restrictive",
    }
    with started(lab, make_request("isolate", 1, specs)) as guest:
        cpus = check_pins(guest)
        cell = guest.placement["cells"][0]["host_cell"]
        check_cell(guest, cell)
        assert guest.read_memory() == {}, "cgroups alone keep it there; no area has a policy"
        core = read_siblings(lab, cpus[0])
        assert core - set(cpus) <= parse_cpus(guest.placement["reserved"])
        assert guest.read_others() == parse_cpus(guest.placement["emulator"])
        assert guest.read_others().isdisjoint(core)
        assert guest.verify()["proven"]
        lab.run("cellwright", "migrate-cells", "isolate", "--to", str(1 - cell))
        check_cell(guest, 1 - cell)
        assert guest.read_vcpus()[0] < read_cell_cpus(lab, 1 - cell)


@pytest.fixture
def sets(lab: Machine) -> Iterator[None]:
    """The operator has set pCPUs apart: a core of each cell is shared, the other is for those who own theirs."""
    lab.write("/etc/cellwright/cellwright.toml", SETS)
    yield
    lab.run("rm", "/etc/cellwright/cellwright.toml")


SHARED = {0: {0, 1}, 1: {4, 5}}


@pytest.mark.usefixtures("sets")
def test_shared_floats_over_the_shared_pcpus_of_its_cell(lab: Machine) -> None:
    specs = {"hw:numa_nodes": "1", "hw:numa_mempolicy": "interleave"}
    with started(lab, make_request("shared", 2, specs)) as guest:
        cell = guest.placement["cells"][0]["host_cell"]
        assert guest.read_vcpus() == {0: SHARED[cell], 1: SHARED[cell]}
        check_cell(guest, cell)
        assert set(guest.read_memory()) == {f"interleave:{cell}"}
        assert guest.verify()["proven"]


@pytest.mark.usefixtures("sets")
def test_mixed_owns_some_pcpus_and_shares_the_others_with_its_emulator(lab: Machine) -> None:
    specs = {
        "hw:cpu_policy": "mixed",
        "hw:cpu_dedicated_mask": "0,3",
        "hw:emulator_threads_policy": "share",
        "hw:numa_nodes": "2",
        "hw:numa_mempolicy": "preferred",
    }
    with started(lab, make_request("mixed", 4, specs)) as guest:
        first, second = (cell["host_cell"] for cell in guest.placement["cells"])
        vcpus = guest.read_vcpus()
        assert (vcpus[1], vcpus[2]) == (SHARED[first], SHARED[second])
        for vcpu, cell in ((0, first), (3, second)):
            assert len(vcpus[vcpu]) == 1
            assert vcpus[vcpu] < read_cell_cpus(lab, cell) - SHARED[cell]
        assert guest.read_others() == SHARED[0] | SHARED[1]
        memory = guest.read_memory()
        for cell in (first, second):
            assert set(memory[f"prefer:{cell}"]) == {cell}
            assert memory[f"prefer:{cell}"][cell] >= 64 * 1024
        assert guest.verify()["proven"]


def test_huge_pages_come_from_the_chosen_cell_s_pool(lab: Machine) -> None:
    with huge_pages(lab, 0, 80):
        assert read_free_pages(lab, 2048) == [0, 80]
        specs = {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2MB"}
        with started(lab, make_request("huge", 2, specs)) as guest:
            check_pins(guest)
            assert read_free_pages(lab, 2048) == [0, 80 - 64]
            memory = guest.read_memory()
            assert {policy: set(pages) for policy, pages in memory.items()} == {"bind:1": {1}}
            assert guest.verify()["proven"]
        assert read_free_pages(lab, 2048) == [0, 80]


def test_an_emulator_apart_on_one_cell_starts_with_huge_pages_of_two(lab: Machine) -> None:
    with huge_pages(lab, 40, 40):
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


def read_classes(guest: Guest) -> dict[str, str]:
    """Thread name → scheduling class and priority, by chrt."""
    said = guest.lab.run("chrt", "-a", "-p", str(guest.pid), status=None).stdout  # 1: a worker has ended meanwhile
    classes = {int(tid): what for tid, what in re.findall(r"pid (\d+)'s current scheduling policy: (\w+)", said)}
    priorities = {int(tid): priority for tid, priority in re.findall(r"pid (\d+)'s current.*priority: (\d+)", said)}
    names = {tid: name for tid, name, _ in guest.read_threads()} | {guest.pid: "main"}
    return {name: f"{classes[tid]} {priorities[tid]}" for tid, name in names.items() if tid in classes}


def test_real_time_vcpus_have_locked_memory_and_every_class_that_was_asked_for_over_a_restart_too(lab: Machine) -> None:
    specs = {
        "hw:cpu_policy": "dedicated",
        "hw:cpu_realtime": "yes",
        "hw:cpu_realtime_mask": "^0",
        "cw:iothreads": "1",
        "cw:iothread_sched": "rr:2",
        "cw:emulator_sched": "fifo:3",
    }
    wanted = {
        "CPU 0/TCG": "SCHED_OTHER 0",
        "CPU 1/TCG": "SCHED_FIFO 1",
        "CPU 2/TCG": "SCHED_FIFO 1",
        "IO iothread1": "SCHED_RR 2",
        "main": "SCHED_FIFO 3",
    }
    with started(lab, make_request("rt", 3, specs)) as guest:
        cpus = check_pins(guest)
        check_memory(guest, lab)
        assert wanted.items() <= read_classes(guest).items()
        assert guest.read_others() == {cpus[0]}, "QEMU's threads share the pCPU of the vCPU that is not real-time"
        locked_kib = int(re.search(r"VmLck:\s+(\d+)", lab.read(f"/proc/{guest.pid}/status"))[1])  # type: ignore[index]
        assert locked_kib >= 128 * 1024
        xml = lab.run("virsh", "-q", "dumpxml", "rt").stdout
        assert "<locked/>" in xml
        assert "<nosharepages/>" in xml
        assert "<pmu state='off'/>" in xml
        validate = ("virt-xml-validate", "-", "domain")
        assert subprocess.run(validate, input=xml, text=True, capture_output=True, check=False).returncode == 0
        lab.run("cellwright", "verify", "rt", "--quick")
        lab.shell("virsh -q destroy rt; virsh -q start rt")
        assert wanted.items() <= read_classes(guest).items()


def test_a_vhost_kernel_thread_is_where_the_emulator_is_placed(lab: Machine) -> None:
    """libvirt gives vhost-net to KVM guests alone, so an emulated one gets it by QEMU's own options.

    For that libvirt has to let QEMU see devices that it does not manage.
    """
    settings = "/etc/libvirt/qemu.conf"
    lab.shell(
        f'cp {settings} /tmp/qemu.conf; printf \'namespaces = []\ncgroup_controllers = ["cpu", "cpuset"]\n\''
        f" >>{settings}; systemctl restart libvirtd.service"
    )
    lab.shell(
        "modprobe -a tun vhost_net && chmod 666 /dev/vhost-net && ip tuntap add dev tap7 mode tap user libvirt-qemu"
    )
    request = make_request("vhost", 2, {"hw:cpu_policy": "dedicated", "hw:emulator_threads_policy": "isolate"})
    options = ["-netdev", "tap,id=n7,ifname=tap7,script=no,downscript=no,vhost=on,vhostforce=on"]
    options += ["-device", "virtio-net-pci,netdev=n7,bus=pcie.0,addr=0x10"]
    namespace = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
    arguments = "".join(f"<qemu:arg value='{option}'/>" for option in options)
    base = render_base(request).replace('<domain type="qemu">', f'<domain type="qemu" {namespace}>')
    base = base.replace("</domain>", f"<qemu:commandline>{arguments}</qemu:commandline></domain>")
    lab.write("/tmp/vhost-base.xml", base)
    try:
        create = ("cellwright", "create", "--request", "-", "--domain", "/tmp/vhost-base.xml")
        lab.run(*create, stdin=json.dumps(request))
        guest = Guest(lab, "vhost", read_placement(lab, "vhost"))
        emulator = parse_cpus(guest.placement["emulator"])
        assert len(emulator) == 1
        (tid,) = lab.run("pgrep", "-x", f"vhost-{guest.pid}").stdout.split()
        allowed = "grep Cpus_allowed_list: /proc/{}/status"
        assert parse_cpus(lab.shell(allowed.format(tid)).stdout.split()[1]) == emulator
        pinned = parse_cpus(guest.placement["cells"][0]["pins"]["0"])
        lab.run("virsh", "-q", "emulatorpin", "vhost", str(min(pinned)), "--live")
        assert parse_cpus(lab.shell(allowed.format(tid)).stdout.split()[1]) == pinned
        found = guest.verify(status=4)["findings"]
        assert [(one["code"], one["role"]) for one in found if one["tid"] == int(tid)] == [("mask-differs", "vhost")]
        lab.run("cellwright", "repair", "vhost")
        assert parse_cpus(lab.shell(allowed.format(tid)).stdout.split()[1]) == emulator
    finally:
        remove(lab, "vhost")
        lab.shell(f"ip link del tap7; cp /tmp/qemu.conf {settings}; systemctl restart libvirtd.service")


def take_memory(lab: Machine, cell: int) -> int:
    """Make huge pages of all but 200 MiB of the cell's free memory, as far as it is in one piece; the MiB left free."""
    meminfo, pool = f"/sys/devices/system/node/node{cell}/meminfo", POOL.format(cell=cell)
    free_mib = int(re.search(r"MemFree: +(\d+)", lab.read(meminfo))[1]) >> 10  # type: ignore[index]
    if free_mib > 300:
        fill_pool(lab, pool, int(lab.read(pool)) + (free_mib - 200) // 2)
    return free_mib


def test_memory_that_is_gone_before_the_start_leaves_no_half_started_guest(lab: Machine) -> None:
    request = make_request("starved", 2, {"hw:cpu_policy": "dedicated"}, ram_mb=512)
    answer = lab.run("cellwright", "place", "--request", "-", "--format", "json", stdin=json.dumps(request))
    cell = answer.json()["cells"][0]["host_cell"]
    lab.write("/tmp/starved.json", answer.stdout)
    lab.write("/tmp/starved.xml", render_base(request))
    try:
        wait_until("the cell's memory is gone", lambda: take_memory(lab, cell) < 300)
        create = ("cellwright", "create", "--placement", "/tmp/starved.json", "--domain", "/tmp/starved.xml")
        done = lab.run(*create, status=None)
        assert done.status in (1, 3), str(done)
        assert re.search(rf"cell {cell} has [0-9.]+ MiB free of the 512 MiB", done.stdout + done.stderr), str(done)
        assert "Traceback" not in done.stderr
        check_no_qemu(lab)
    finally:
        lab.shell(f"echo 0 >{POOL.format(cell=cell)}")
