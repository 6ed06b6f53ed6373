import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedGuest, ObservedThread, Role
from agent.core.placement import Placement, Schedule, Schedules
from agent.verification.expectation import expect_mask, expect_scheduler
from tests.inspection.qemu import PID, stat, status
from tests.verification.guests import DB, codes, host, observed, verdict_of


def with_thread(guest: ObservedGuest, tid: int, **changes: object) -> ObservedGuest:
    threads = tuple(
        msgspec.structs.replace(thread, **changes) if thread.tid == tid else thread for thread in guest.threads
    )
    return msgspec.structs.replace(guest, threads=threads)


@pytest.mark.parametrize(
    ("role", "number", "mask"),
    [
        (Role.VCPU, 0, "4"),
        (Role.VCPU, 1, "12"),
        (Role.VCPU, None, "4,12"),  # one TCG thread runs all vCPUs
        (Role.IOTHREAD, 1, "2"),
        (Role.IOTHREAD, 9, "0-3"),  # added after the placement was made
        (Role.WORKER, None, "0-3"),
        (Role.WORKER, 1, "2"),  # born in I/O thread 1
        (Role.EMULATOR, None, "0-3"),
        (Role.MIGRATION, None, "0-3"),
        (Role.VHOST, None, "0-3"),
        (Role.OTHER, None, "0-3"),
        (Role.KERNEL, None, None),
    ],
)
def test_the_mask_each_thread_should_have(role: Role, number: int | None, mask: str | None) -> None:
    found = expect_mask(DB, ObservedThread(tid=1, name="", role=role, number=number))
    assert (None if found is None else str(found)) == mask


def test_a_guest_that_floats_has_all_its_threads_on_the_shared_set() -> None:
    floating = msgspec.structs.replace(DB, cells=(), emulator=CpuSet.parse("0-71"), iothreads={})
    assert str(expect_mask(floating, ObservedThread(tid=1, name="", role=Role.VCPU, number=1))) == "0-71"


def test_a_domain_without_any_wish_expects_nothing() -> None:
    free = msgspec.structs.replace(DB, cells=(), emulator=CpuSet(), iothreads={})
    assert expect_mask(free, ObservedThread(tid=1, name="", role=Role.EMULATOR)) is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_guest_where_it_belongs_is_proven(version: int) -> None:
    verdict = verdict_of(observed(version))
    assert (verdict.ok, verdict.proven, verdict.findings, verdict.not_checked) == (True, True, (), ())
    assert [(check.role, check.number, str(check.actual)) for check in verdict.threads[:3]] == [
        (Role.VCPU, 0, "4"),
        (Role.VCPU, 1, "12"),
        (Role.IOTHREAD, 1, "2"),
    ]
    assert all(check.ok and check.inside for check in verdict.threads)


def test_a_mask_that_differs_is_a_finding_with_both_masks() -> None:
    verdict = verdict_of(observed(files={f"proc/{PID}/task/4004/status": status("CPU 0/KVM", "4-5")}))
    assert not verdict.ok
    (finding,) = verdict.findings
    assert (finding.code, finding.role, finding.number, finding.tid) == ("mask-differs", Role.VCPU, 0, 4004)
    assert (finding.expected, finding.actual, str(finding.cpus)) == ("4", "4-5", "5")
    assert verdict.threads[0].ok is False


@pytest.mark.parametrize(("mask", "right"), [("0-3", True), ("2-3", True), ("3-4", False), ("", False)])
def test_a_thread_that_fills_memory_may_be_kept_on_a_part_of_the_emulator_s_pcpus(mask: str, right: bool) -> None:
    guest = observed(2)
    tid = next(thread.tid for thread in guest.threads if thread.role is Role.EMULATOR)
    filler = with_thread(guest, tid, role=Role.PREALLOC, name="TC tc-ram-node0", allowed=CpuSet.parse(mask))
    assert verdict_of(filler).ok is right


def test_an_offline_pcpu_of_the_placement_is_a_finding_even_for_a_floating_thread() -> None:
    guest = observed()
    verdict = verdict_of(guest, seen=host(guest, online=CpuSet.parse("0-1,3-15")))
    assert "pcpu-offline" in codes(verdict)


def test_a_cgroup_that_shuts_out_a_pcpu_is_a_finding() -> None:
    leaf = f"sys/fs/cgroup{SCOPE_LIBVIRT}/vcpu1/cpuset.cpus.effective"
    verdict = verdict_of(observed(files={leaf: "0-3\n"}))
    assert codes(verdict) == ["cgroup-differs"]


FIFO_4 = Schedules({0: Schedule("fifo", 4)})
SCOPE_LIBVIRT = "/machine.slice/machine-qemu\\x2d1\\x2ddb.scope/libvirt"


@pytest.mark.parametrize(
    ("policy", "priority", "wanted", "differs"),
    [
        (0, 0, DB, False),
        (3, 0, DB, False),  # SCHED_BATCH is no real-time class
        (1, 1, DB, True),  # nobody asked for FIFO
        (1, 1, msgspec.structs.replace(DB, realtime=CpuSet([0])), False),
        (0, 0, msgspec.structs.replace(DB, realtime=CpuSet([0])), True),
        (1, 1, msgspec.structs.replace(DB, realtime=CpuSet([0]), schedules=FIFO_4), True),
        (1, 4, msgspec.structs.replace(DB, realtime=CpuSet([0]), schedules=FIFO_4), False),
        (2, 4, msgspec.structs.replace(DB, realtime=CpuSet([0]), schedules=FIFO_4), True),
    ],
)
def test_scheduling_class_and_priority_of_a_vcpu(policy: int, priority: int, wanted: Placement, differs: bool) -> None:
    line = stat(4004, "CPU 0/KVM", 4, policy=policy, priority=priority)
    verdict = verdict_of(observed(files={f"proc/{PID}/task/4004/stat": line}), wanted)
    assert codes(verdict) == ["scheduler-differs"] * differs


def test_priorities_of_io_and_emulator_threads_are_their_own() -> None:
    schedules = Schedules(iothreads={1: Schedule("rr", 2)}, emulator=Schedule("fifo", 3))
    wanted = msgspec.structs.replace(DB, schedules=schedules)
    assert expect_scheduler(wanted, ObservedThread(tid=1, name="", role=Role.IOTHREAD, number=1)) == ("rr", 2)
    assert expect_scheduler(wanted, ObservedThread(tid=1, name="", role=Role.EMULATOR)) == ("fifo", 3)
    assert expect_scheduler(wanted, ObservedThread(tid=1, name="", role=Role.WORKER, number=1)) is None, "inherits it"
    assert expect_scheduler(wanted, ObservedThread(tid=1, name="", role=Role.RCU)) is None, "was there before"
    assert expect_scheduler(DB, ObservedThread(tid=1, name="", role=Role.RCU)) == ("other", 0)
    assert expect_scheduler(wanted, ObservedThread(tid=1, name="", role=Role.VHOST)) is None


def test_a_vcpu_without_a_thread_and_one_too_many_are_findings() -> None:
    guest = observed()
    less = msgspec.structs.replace(guest, threads=tuple(one for one in guest.threads if one.tid != 4005))
    assert codes(verdict_of(less)) == ["vcpus-differ"]
    assert codes(verdict_of(guest, msgspec.structs.replace(DB, vcpus=1))) == ["vcpus-differ"]


def test_a_vcpu_that_is_not_plugged_in_needs_no_thread_and_may_have_one() -> None:
    """One that is plugged in while the guest is read has a thread by then, and libvirt's XML was older."""
    guest = observed()
    less = msgspec.structs.replace(guest, threads=tuple(one for one in guest.threads if one.tid != 4005))
    assert codes(verdict_of(less, plugged=CpuSet([0]))) == []
    assert codes(verdict_of(guest, plugged=CpuSet([0]))) == []
    assert codes(verdict_of(less, plugged=CpuSet([0, 1]))) == ["vcpus-differ"]


def test_a_thread_that_could_not_be_read_is_not_good() -> None:
    guest = with_thread(observed(), 4004, allowed=None, not_checked=("status of thread 4004 could not be read",))
    verdict = verdict_of(msgspec.structs.replace(guest, not_checked=("status of thread 4004 could not be read",)))
    assert (verdict.ok, verdict.proven, verdict.threads[0].ok) == (True, False, None)


def test_a_guest_that_has_no_vcpu_threads_yet_is_not_proven_and_not_wrong() -> None:
    guest = observed()
    starting = msgspec.structs.replace(guest, threads=tuple(one for one in guest.threads if one.role is not Role.VCPU))
    verdict = verdict_of(starting)
    assert (verdict.ok, verdict.proven) == (True, False)
    assert "no vCPU thread was seen" in verdict.not_checked[0]


def test_one_thread_for_all_vcpus_proves_no_pin() -> None:
    guest = observed()
    threads = tuple(one for one in guest.threads if one.tid != 4005)
    merged = with_thread(
        msgspec.structs.replace(guest, threads=threads), 4004, number=None, allowed=CpuSet([4, 12]), cgroup=None
    )
    verdict = verdict_of(merged)
    assert (verdict.ok, verdict.proven) == (True, False)
    assert "one thread runs all vCPUs" in verdict.not_checked[0]


def test_a_pcpu_that_the_host_does_not_have_is_called_that() -> None:
    wanted = msgspec.structs.replace(DB, iothreads={1: CpuSet([2, 40])})
    found = codes(verdict_of(observed(), wanted))
    assert set(found) == {"pcpu-absent"}
