"""A real QEMU process under a real libvirtd: verify against taskset, a plain sum, and things broken by hand."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compute.driver import Driver
from agent.compute.prove import NotRunning, observe_host, verify_host
from agent.core.codec import decode
from agent.core.cpuset import CpuSet
from agent.core.observation import Role
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy, MemPolicy
from agent.core.verdict import GuestVerdict, Verdict
from agent.domain.render import render_domain
from tests.compute.guests import name_of, pid_of, remove, tiny_xml, virsh

NAME = name_of("prove")
FOREIGN = name_of("foreign")
PLACED = Placement(
    host=platform.node(),
    name=NAME,
    vcpus=2,
    memory_kib=65536,
    cells=(
        PlacedCell(
            guest_cell=0,
            host_cell=0,
            vcpus=CpuSet([0, 1]),
            memory_kib=65536,
            policy=CpuPolicy.DEDICATED,
            pins={0: CpuSet([0]), 1: CpuSet([1])},
        ),
    ),
    emulator=CpuSet([0, 1]),
    iothreads={1: CpuSet([1])},
    mempolicy=MemPolicy.STRICT,
    cpu_topology=CpuTopology(2, 1, 1),
)


@pytest.fixture(scope="module")
def libvirt(libvirt_uri: str) -> Iterator[Driver]:
    """One guest of ours, started."""
    with Driver(libvirt_uri) as driver:
        driver.define(render_domain(PLACED, template="tiny", virt_type="qemu"), name=NAME)
        try:
            driver.start(NAME)
            yield driver
        finally:
            remove(NAME)


def verify(*options: str) -> tuple[int, str, str]:
    """The command as its user has it: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "agent", "verify", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def quick(*options: str) -> tuple[int, GuestVerdict]:
    code, out, _ = verify(NAME, "--quick", "--format", "json", *options)
    return code, decode(out, Verdict).guests[0]


def taskset(pid: int) -> dict[int, str]:
    """What ``taskset -acp`` says: tid → CPU list."""
    said = subprocess.run(["taskset", "-acp", str(pid)], capture_output=True, text=True, check=True).stdout
    return {int(tid): str(CpuSet.parse(cpus)) for tid, cpus in re.findall(r"pid (\d+)'s .* list: (\S+)", said)}


def test_every_thread_has_the_mask_that_taskset_tells(libvirt: Driver) -> None:
    (guest,) = verify_host(libvirt, names=[NAME], quick=True).guests
    assert {check.tid: str(check.actual) for check in guest.threads} == taskset(pid_of(libvirt, NAME))
    roles = {(check.role, check.number): str(check.expected) for check in guest.threads}
    assert roles[Role.VCPU, 0] == "0"
    assert roles[Role.VCPU, 1] == "1"
    assert roles[Role.IOTHREAD, 1] == "1"
    assert roles[Role.EMULATOR, None] == "0-1"


def test_a_guest_that_is_where_it_was_placed_is_proven(libvirt: Driver) -> None:
    code, guest = quick()
    assert (code, guest.ok, guest.proven, guest.expectation) == (0, True, True, "placement")


def test_pages_are_a_plain_sum_over_the_same_numa_maps(libvirt: Driver) -> None:
    """The guest runs meanwhile: the plain sum before and the one after hold ours between them, give or take."""

    def plain() -> int:
        text = Path(f"/proc/{pid_of(libvirt, NAME)}/numa_maps").read_text()
        return sum(int(pages) for pages in re.findall(r" N\d+=(\d+)", text))

    before = plain()
    (guest,) = verify_host(libvirt, names=[NAME]).guests
    after = plain()
    assert guest.memory is not None
    ours = sum(one.pages for one in guest.memory.cells)
    assert min(before, after) * 0.9 <= ours <= max(before, after) * 1.1
    told = subprocess.run([sys.executable, "-m", "agent", "pages", NAME], capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"process {pid_of(libvirt, NAME)} (qemu-system-")
    (cell,) = guest.cells
    assert (cell.guest_cell, cell.identified_by, cell.policies) == (0, "size and policy", ("bind:0",))
    assert cell.resident_kib is not None
    assert 0 < cell.resident_kib <= 65536
    assert cell.local_ratio == 1.0


def test_the_table_and_the_evidence_show_the_facts(libvirt: Driver) -> None:
    _, table, _ = verify(NAME)
    assert re.search(r"vCPU 0 +\d+ +CPU 0/TCG +0 +0 +0 +0 +other", table)
    assert "100.0%  bind:0  ok" in table
    for fact in ("anon", "dirty", "mapped", "active", "mapmax", "4 KiB", "GiB"):
        assert fact in table
    code, evidence, _ = verify(NAME, "--quick", "--format", "evidence")
    assert code == 0
    document = re.search(r"^document   (.*)$", evidence, re.MULTILINE)
    assert document is not None
    digest = subprocess.run(["sha256sum"], input=document[1], capture_output=True, text=True, check=True).stdout[:64]
    assert f"sha256     {digest}" in evidence
    assert json.loads(document[1])["guests"][0]["name"] == NAME
    assert re.search(r"^libvirt    \d+\.\d+\.\d+$", evidence, re.MULTILINE)


def test_taskset_on_a_thread_is_found_and_named(libvirt: Driver) -> None:
    pid = pid_of(libvirt, NAME)
    subprocess.run(["taskset", "-cp", "0", str(pid)], capture_output=True, check=True)
    try:
        code, guest = quick()
        (finding,) = guest.findings
        assert (code, finding.code, finding.tid, finding.actual) == (4, "mask-differs", pid, "0")
        assert finding.cause is not None
        assert "taskset" in finding.cause
    finally:
        subprocess.run(["taskset", "-cp", "0-1", str(pid)], capture_output=True, check=True)
    assert quick()[0] == 0


def test_virsh_vcpupin_is_found_and_named(libvirt: Driver) -> None:
    virsh("vcpupin", NAME, "0", "1", "--live")
    try:
        code, guest = quick()
        (finding,) = guest.findings
        assert (code, finding.role, finding.number, finding.actual) == (4, Role.VCPU, 0, "1")
        assert finding.cause is not None
        assert "virsh" in finding.cause
    finally:
        virsh("vcpupin", NAME, "0", "0", "--live")
    assert quick()[0] == 0


def test_a_rewritten_cpuset_is_found_and_named(libvirt: Driver) -> None:
    observation, _ = observe_host(libvirt, names=[NAME], quick=True)
    guest = next(one for one in observation.guests if one.name == NAME)
    thread = next(one for one in guest.threads if one.role is Role.VCPU and one.number == 0)
    cgroup = guest.cgroup(thread.cgroup)
    assert cgroup is not None
    mount = "/sys/fs/cgroup" if cgroup.version == 2 else "/sys/fs/cgroup/cpuset"
    file = Path(f"{mount}{cgroup.path}/cpuset.cpus")
    file.write_text("1")  # since Linux 6.2 a cpuset that is only widened changes no mask that was set by hand
    try:
        code, found = quick()
        finding = next(one for one in found.findings if one.number == 0)
        assert code == 4
        assert finding.cause is not None
        assert "rewritten to 1" in finding.cause
    finally:
        file.write_text("0")
        virsh("vcpupin", NAME, "0", "0", "--live")
    assert quick()[0] == 0


def test_a_paused_guest_has_threads_to_judge(libvirt: Driver) -> None:
    virsh("suspend", NAME)
    try:
        code, guest = quick()
    finally:
        virsh("resume", NAME)
    assert (code, guest.state, guest.ok) == (0, "paused", True)


def test_a_foreign_guest_is_held_to_its_own_xml_and_a_killed_one_is_told(libvirt: Driver) -> None:
    pins = "<cputune><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='0'/></cputune>"
    libvirt.define(tiny_xml(FOREIGN, vcpus=1, extra=pins), name=FOREIGN)
    try:
        libvirt.start(FOREIGN, paused=True)
        (guest,) = verify_host(libvirt, names=[FOREIGN], quick=True).guests
        assert (guest.expectation, guest.ok) == ("domain XML", True)
        assert {str(check.expected) for check in guest.threads} == {"0", "1"}
        os.kill(pid_of(libvirt, FOREIGN), signal.SIGKILL)
        until = time.monotonic() + 120
        while libvirt.domain(FOREIGN).active:
            assert time.monotonic() < until
            time.sleep(0.1)
        with pytest.raises(NotRunning, match=f"domain {FOREIGN} is not running"):
            verify_host(libvirt, names=[FOREIGN])
    finally:
        remove(FOREIGN)


def test_names_and_peers_that_are_not_there(libvirt: Driver) -> None:
    code, out, err = verify("no-such-guest")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no-such-guest" in err
    code, out, err = verify("--all", NAME)
    assert (code, out) == (2, "")
    code, out, err = verify("--connect", "qemu+tcp://127.0.0.1:1/system")
    assert (code, out, err.count("\n")) == (5, "", 1)


def test_guests_of_a_driver_without_processes_are_never_called_proven() -> None:
    code, out, _ = verify("--connect", "test:///default")
    assert code == 4
    assert "NOT PROVEN" in out
    assert "not checked  its QEMU process is not known" in out
