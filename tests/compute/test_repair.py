"""What drifted is put back and the cause named; what must not be touched is left, with the reason."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import apply_pin, plan_pin
from agent.compute.prove import verify_host
from agent.compute.repair import Result, apply_repair, why_not
from agent.core.cpuset import CpuSet
from agent.core.verdict import Finding, GuestVerdict
from tests.compute.guests import virsh
from tests.compute.placements import FIRST, SECOND, dedicated


@pytest.fixture
def pinned(libvirt: Driver, journal: Journal, foreign: Callable[..., str]) -> str:
    """A guest of ours: vCPU 0 on FIRST, vCPU 1 on SECOND."""
    name = foreign("repair")
    plan = plan_pin(libvirt, name, dedicated(name, FIRST, SECOND), live=True, config=True, owner="", created_at="")
    apply_pin(libvirt, journal, plan)
    return name


def tid_of(libvirt: Driver, name: str, thread: str) -> str:
    tasks = Path(f"/proc/{libvirt.domain(name).pid}/task")
    return next(task.name for task in tasks.iterdir() if (task / "comm").read_text().strip() == thread)


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
    assert repair.result is Result.REPAIRED
    assert libvirt.vcpu_pins(pinned)[0] == CpuSet([SECOND])


@pytest.mark.parametrize(
    ("code", "expectation", "reason"),
    [
        ("mask-differs", "placement", ""),
        ("cgroup-differs", "placement", ""),
        ("mask-differs", "domain XML", "a foreign guest is never touched"),
        ("pcpu-offline", "placement", "the pCPU is offline"),
        ("other-host", "placement", "its placement is for another host"),
        ("two-owners", "placement", "no mask can repair this"),
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
