"""What drifted is put back and the cause named; what must not be touched is left, with the reason."""

import os
import subprocess
from collections.abc import Callable

import msgspec
import pytest

from agent.compute.change import undo
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import apply_pin, plan_pin
from agent.compute.prove import verify_host
from agent.compute.repair import Result, apply_repair, why_not
from agent.core.cpuset import CpuSet
from agent.core.placement import Schedule, Schedules
from agent.core.verdict import CellCheck, Finding, GuestVerdict
from agent.domain.parse import parse_intent
from tests.compute.guests import pid_of, threads_of, virsh
from tests.compute.placements import FIRST, SECOND, dedicated


@pytest.fixture
def pinned(libvirt: Driver, journal: Journal, foreign: Callable[..., str]) -> str:
    """A guest of ours: vCPU 0 on FIRST, vCPU 1 on SECOND."""
    name = foreign("repair")
    plan = plan_pin(libvirt, name, dedicated(name, FIRST, SECOND), live=True, config=True, owner="", created_at="")
    apply_pin(libvirt, journal, plan)
    return name


def tid_of(libvirt: Driver, name: str, thread: str) -> str:
    return next(str(one.tid) for one in threads_of(pid_of(libvirt, name)) if one.name == thread)


def test_nothing_drifted_nothing_done(libvirt: Driver, journal: Journal, pinned: str) -> None:
    entries = journal.entries()
    assert apply_repair(libvirt, journal, names=[pinned]) == ()
    assert journal.entries() == entries


@pytest.mark.parametrize("thread", ["CPU 1/TCG", "IO mon_iothread"])
def test_a_foreign_virsh_and_a_foreign_taskset_are_named_and_put_back(
    libvirt: Driver, journal: Journal, pinned: str, thread: str
) -> None:
    """virsh on a vCPU; taskset on a thread that libvirt has no call for."""
    tid = tid_of(libvirt, pinned, thread)
    if thread.startswith("CPU"):
        virsh("vcpupin", pinned, "1", f"{FIRST},{SECOND}", "--live")
    else:
        subprocess.run(["taskset", "-pc", str(FIRST), tid], check=True, capture_output=True)
    (repair,) = apply_repair(libvirt, journal, names=[pinned])
    assert (repair.guest, repair.result) == (pinned, Result.REPAIRED)
    assert repair.cause
    assert ("virsh" if thread.startswith("CPU") else "taskset") in repair.cause
    assert verify_host(libvirt, names=[pinned], quick=True).proven
    assert journal.entries()[-1].verb == "repair"


def test_a_dry_run_says_so_and_leaves_it(libvirt: Driver, journal: Journal, pinned: str) -> None:
    virsh("vcpupin", pinned, "0", str(SECOND), "--live")
    (repair,) = apply_repair(libvirt, journal, names=[pinned], dry_run=True)
    assert repair.result is Result.WOULD_BE
    assert libvirt.vcpu_pins(pinned)[0] == CpuSet([SECOND])


@pytest.mark.parametrize(
    ("code", "expectation", "reason"),
    [
        ("mask-differs", "placement", ""),
        ("cgroup-differs", "placement", ""),
        ("mask-differs", "domain XML", "a foreign guest is never touched"),
        ("pcpu-offline", "placement", "the pCPU is offline"),
        ("other-host", "placement", "its placement is for another host"),
        ("pcpu-absent", "placement", "this host has no such pCPU"),
        ("scheduler-differs", "placement", ""),
        ("pages-elsewhere", "placement", ""),
        ("page-size-differs", "placement", "pages keep their size"),
        ("two-owners", "placement", "nothing that a repair sets"),
    ],
)
def test_what_must_not_be_repaired_is_left_with_a_reason(code: str, expectation: str, reason: str) -> None:
    finding = Finding(code=code, message="m", guest="g")
    guest = GuestVerdict(
        name="g", pid=1, state="running", ok=False, proven=False, expectation=expectation, owned=CpuSet()
    )
    found = why_not(msgspec.structs.replace(guest, findings=(finding,)), finding)
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def cell(number: int, home: int, policy: str, *, by: str = "file") -> CellCheck:
    """The memory of a guest cell that belongs on host cell ``home``."""
    return CellCheck(
        guest_cell=number,
        host_cells=CpuSet([home]),
        memory_kib=4,
        resident_kib=4,
        pages=(),
        local_ratio=0.0,
        wanted_ratio=1.0,
        policies=(policy,),
        page_kib=None,
        identified_by=by,
        ok=False,
    )


@pytest.mark.parametrize(
    ("cells", "code", "reason"),
    [
        pytest.param([cell(0, 1, "bind:0")], "policy-differs", "", id="one cell follows to any other"),
        pytest.param([cell(0, 1, "bind:0"), cell(1, 2, "bind:1")], "policy-differs", "", id="two in their order"),
        pytest.param(
            [cell(0, 1, "bind:0"), cell(1, 0, "bind:1")], "policy-differs", "the kernel lets policies follow", id="swap"
        ),
        pytest.param([cell(0, 1, "default")], "policy-differs", "memory policy default is QEMU's own", id="no policy"),
        pytest.param([cell(0, 1, "bind:0", by="order")], "pages-elsewhere", "which pages are which", id="a guess"),
    ],
)
def test_memory_that_cannot_follow_is_left_with_a_reason(cells: list[CellCheck], code: str, reason: str) -> None:
    finding = Finding(code=code, message="m", guest="g")
    guest = GuestVerdict(
        name="g", pid=1, state="running", ok=False, proven=False, expectation="placement", owned=CpuSet()
    )
    found = why_not(msgspec.structs.replace(guest, findings=(finding,), cells=tuple(cells)), finding)
    assert found.startswith(reason)
    assert bool(found) is bool(reason)


def test_a_class_that_somebody_changed_is_put_back_and_an_undo_brings_it_again(
    libvirt: Driver, journal: Journal, pinned: str
) -> None:
    tid = int(tid_of(libvirt, pinned, "CPU 0/TCG"))
    os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))
    assert apply_repair(libvirt, journal, names=[pinned]) == (), "idle is the normal scheduler's too"
    intent = parse_intent(libvirt.xml(pinned))
    assert intent is not None
    asked = msgspec.structs.replace(intent.placement, schedules=Schedules({0: Schedule("batch")}))
    plan = plan_pin(libvirt, pinned, asked, live=True, config=False, owner="", created_at="")
    apply_pin(libvirt, journal, plan)
    assert os.sched_getscheduler(tid) == os.SCHED_BATCH, "pin sets it, although libvirt has no call for it"
    os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
    (repair,) = apply_repair(libvirt, journal, names=[pinned], dry_run=True)
    assert "is scheduled other 0, expected batch 0" in repair.finding
    assert os.sched_getscheduler(tid) == os.SCHED_OTHER
    (repair,) = apply_repair(libvirt, journal, names=[pinned])
    assert repair.result is Result.REPAIRED
    assert os.sched_getscheduler(tid) == os.SCHED_BATCH
    undo(libvirt, journal, journal.entries()[-1:], verb="undo")
    assert os.sched_getscheduler(tid) == os.SCHED_OTHER


def test_an_undone_repair_brings_back_the_mask_that_taskset_gave(
    libvirt: Driver, journal: Journal, pinned: str
) -> None:
    tid = int(tid_of(libvirt, pinned, "IO mon_iothread"))
    os.sched_setaffinity(tid, {FIRST})
    (repair,) = apply_repair(libvirt, journal, names=[pinned])
    assert (repair.result, os.sched_getaffinity(tid)) == (Result.REPAIRED, {FIRST, SECOND})
    undo(libvirt, journal, journal.entries()[-1:], verb="undo")
    assert os.sched_getaffinity(tid) == {FIRST}
