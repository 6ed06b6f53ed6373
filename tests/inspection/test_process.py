import os
import subprocess
import time
from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.observation import Role
from agent.inspection.cgroup import parents, parse_cgroups
from agent.inspection.files import Root
from agent.inspection.interrupts import parse_interrupts, read_irqs
from agent.inspection.process import (
    BOUND,
    KERNEL_THREAD,
    read_cpus,
    read_guest,
    read_helpers,
    read_neighbours,
)
from tests.inspection.qemu import PID, SCOPE, qemu, stat, status
from tests.inspection.trees import write


@pytest.mark.parametrize("version", [1, 2])
def test_a_guest_is_read_whole(tmp_path: Path, version: int) -> None:
    guest = read_guest(Root(str(write(tmp_path, qemu(version)))), "db", PID)
    assert guest.not_checked == ()
    by_tid = {thread.tid: thread for thread in guest.threads}
    assert [by_tid[tid].role for tid in sorted(by_tid)] == [
        *(Role.EMULATOR, Role.RCU, Role.IOTHREAD, Role.WORKER, Role.VCPU, Role.VCPU, Role.VHOST)
    ]
    vcpu = by_tid[4005]
    assert (vcpu.number, str(vcpu.allowed), vcpu.last_cpu, vcpu.scheduler, vcpu.wait_ns) == (
        1,
        "12",
        12,
        "other",
        4005000,
    )
    leaf = guest.cgroup(vcpu.cgroup)
    assert leaf is not None
    assert (leaf.version, leaf.cpus, leaf.effective, leaf.mems) == (version, CpuSet([12]), CpuSet([12]), CpuSet([0, 1]))
    scope = guest.cgroup(SCOPE)
    assert scope is not None
    assert (scope.cpus, scope.effective) == (CpuSet(), CpuSet(range(16)))
    assert guest.memory is not None
    assert [ram.backend.guest_cell for ram in guest.memory.ram] == [0, 1]


def test_without_memory_the_page_tables_are_left_alone(tmp_path: Path) -> None:
    files = qemu()
    del files[f"proc/{PID}/numa_maps"]
    guest = read_guest(Root(str(write(tmp_path, files))), "db", PID, memory=False)
    assert (guest.memory, guest.not_checked) == (None, ())


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (f"proc/{PID}/numa_maps", "memory: this kernel has no numa_maps"),
        (f"proc/{PID}/task/4004/status", "status of thread 4004 could not be read"),
        (f"proc/{PID}/task/4004/cgroup", "cgroup of thread 4004 could not be read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, lost: str, said: str) -> None:
    files = qemu()
    del files[lost]
    guest = read_guest(Root(str(write(tmp_path, files))), "db", PID)
    assert any(said in why for why in guest.not_checked)


@pytest.mark.parametrize(
    ("listings", "said"), [(1, ()), (2, ()), (99, ("thread 4999 ended while it was read",))], ids=["1", "2", "always"]
)
def test_threads_are_read_again_when_one_ended_meanwhile_and_what_ends_always_is_said(
    tmp_path: Path, listings: int, said: tuple[str, ...]
) -> None:
    write(tmp_path, qemu())

    class Racing(Root):
        """Lists, so many times, a thread that ends before its files are read."""

        listed = 0

        def names(self, path: str) -> list[str] | None:
            found = super().names(path)
            self.listed += path.endswith("/task")
            return [*found, "4999"] if found and path.endswith("/task") and self.listed <= listings else found

    guest = read_guest(Racing(str(tmp_path)), "db", PID)
    assert guest.not_checked == said
    assert (4999 in {thread.tid for thread in guest.threads}) == bool(said)


@pytest.mark.parametrize(("pid", "said"), [(None, "not known"), (77, "process 77 is gone")])
def test_a_guest_without_a_process_says_so(tmp_path: Path, pid: int | None, said: str) -> None:
    guest = read_guest(Root(str(write(tmp_path, qemu()))), "db", pid)
    assert guest.threads == ()
    assert said in guest.not_checked[0]


def test_kernel_threads_that_serve_a_guest_are_its_helpers(tmp_path: Path) -> None:
    files = qemu()
    name = f"vhost-{PID}"
    files |= {
        "proc/90/comm": name + "\n",
        "proc/90/task/90/status": status(name, "0-3", kernel=True),
        "proc/90/task/90/stat": stat(90, name, 0, flags=KERNEL_THREAD),
        "proc/90/task/90/cgroup": "0::/\n",
        "proc/91/comm": "vhost-5\n",
    }
    root = Root(str(write(tmp_path, files)))
    helpers = read_helpers(root)
    assert helpers == {PID: [90], 5: [91]}
    assert read_guest(root, "db", PID, helpers=helpers).threads[-1].role is Role.VHOST


def test_neighbours_are_all_others_except_threads_bound_to_a_pcpu(tmp_path: Path) -> None:
    files = qemu()
    for pid, name, flags in (
        (1, "systemd", 0),
        (12, "kworker/u8:0", KERNEL_THREAD),
        (13, "migration/3", KERNEL_THREAD | BOUND),
    ):
        files |= {
            f"proc/{pid}/task/{pid}/status": status(name, "0-15"),
            f"proc/{pid}/task/{pid}/stat": stat(pid, name, 4, flags=flags),
        }
    found = read_neighbours(Root(str(write(tmp_path, files))), without=[PID])
    assert [(one.name, one.kernel, one.last_cpu) for one in found] == [("systemd", False, 4), ("kworker/u8:0", True, 4)]


def test_interrupts_have_names_counts_and_targets(tmp_path: Path) -> None:
    table = """           CPU0       CPU2
  24:          5          0   PCI-MSI 512000-edge      eth0-rx-0
  25:          0         17   PCI-MSI 512001-edge      eth0-tx-0
 LOC:     123456     234567   Local timer interrupts
"""
    assert parse_interrupts(table)[25] == ("PCI-MSI 512001-edge eth0-tx-0", {2: 17})
    files: dict[str, str | bytes] = {
        "proc/interrupts": table,
        "proc/irq/0/smp_affinity_list": "0-2\n",
        "proc/irq/24/smp_affinity_list": "0-2\n",
        "proc/irq/24/effective_affinity_list": "0\n",
        "proc/irq/25/smp_affinity_list": "2\n",
    }
    first, second = read_irqs(Root(str(write(tmp_path, files)))) or ()
    assert (first.number, str(first.allowed), str(first.effective), first.counts) == (24, "0-2", "0", {0: 5})
    assert (second.number, second.effective) == (25, None)


def test_a_tree_without_interrupts_says_none(tmp_path: Path) -> None:
    assert read_irqs(Root(str(tmp_path))) is None


def test_the_cpuset_hierarchy_of_version_1_wins_where_both_are_mounted() -> None:
    assert parse_cgroups("9:cpu,cpuacct:/a\n3:cpuset:/machine/x\n0::/machine/x\n") == (1, "/machine/x")
    assert parse_cgroups("0::/machine.slice/x\n") == (2, "/machine.slice/x")
    assert parse_cgroups("9:cpu:/a\nbroken\n") is None
    assert parents("/a/b/c") == ["/a/b/c", "/a/b", "/a"]
    assert parents("/") == []


def test_a_live_process_agrees_with_taskset() -> None:
    sleeper = subprocess.Popen(["taskset", "-c", "0", "sleep", "1000"])
    try:
        while not Path(f"/proc/{sleeper.pid}/cmdline").read_bytes().startswith(b"sleep"):
            assert sleeper.poll() is None
            time.sleep(0.01)
        guest = read_guest(Root(), "sleeper", sleeper.pid)
        said = subprocess.run(["taskset", "-cp", str(sleeper.pid)], capture_output=True, text=True, check=True).stdout
        assert said.rstrip().endswith(f": {guest.threads[0].allowed}")
        assert guest.threads[0].last_cpu == 0
        assert guest.memory is not None
    finally:
        sleeper.kill()
        sleeper.wait()
    assert read_cpus(Root())[0]


def test_without_permission_pages_are_not_checked_and_masks_are() -> None:
    """The process is root's and the reader is nobody: what taskset shows to everybody, numa_maps does not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        guest = read_guest(Root(), "init", 1)
    finally:
        os.seteuid(before)
    assert guest.threads[0].allowed
    assert guest.memory is None
    assert guest.not_checked == ("memory: no permission to read numa_maps of process 1",)
