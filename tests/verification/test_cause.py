import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.observation import HostObservation, ObservedIrq
from agent.core.placement import Placement, Schedule, Schedules
from agent.core.verdict import Finding
from agent.verification.cause import find_cause, with_cause
from agent.verification.expectation import Expectation
from tests.inspection.qemu import PID, SCOPE, status
from tests.verification.guests import DB, cell, host, observed

LEAF = f"sys/fs/cgroup{SCOPE}/libvirt/vcpu0"
LEAF_1 = f"sys/fs/cgroup/cpuset{SCOPE}/vcpu0"
TASK = f"proc/{PID}/task/4004"
MOVED = msgspec.structs.replace(DB, cells=(cell(0, 0, {0: "5"}), cell(1, 1, {1: "12"})))
WIDE = msgspec.structs.replace(DB, cells=(cell(0, 0, {0: "4-5"}), cell(1, 1, {1: "12"})))


def seen(cpus: str, *, version: int = 2, **files: str) -> HostObservation:
    """vCPU 0 with the mask ``cpus``; ``files`` change other kernel files."""
    names = {"cgroup": f"{TASK}/cgroup", "own": f"{LEAF}/cpuset.cpus", "effective": f"{LEAF}/cpuset.cpus.effective"}
    changed = {names[key]: text for key, text in files.items()}
    return host(observed(version, files={f"{TASK}/status": status("CPU 0/KVM", cpus), **changed}))


def cause(
    now: HostObservation,
    *,
    wanted: Placement = DB,
    configured: Placement | None = None,
    before: HostObservation | None = None,
) -> str:
    return find_cause("db", 4004, Expectation(placement=wanted, configured=configured or wanted), now, before)


@pytest.mark.parametrize(
    ("what", "now", "words"),
    [
        ("somebody narrowed the mask", {"wanted": WIDE, "now": seen("4", own="4-5", effective="4-5")}, "taskset"),
        ("virsh vcpupin", {"configured": MOVED, "now": seen("5", own="5", effective="5")}, "virsh"),
        ("its pCPU is offline", {"now": msgspec.structs.replace(seen("0-3"), online=CpuSet.parse("0-3"))}, "offline"),
        ("systemd emptied the cpuset", {"now": seen("0-15", own="\n", effective="0-15")}, "was emptied"),
        ("systemd rewrote the cpuset", {"now": seen("0-7", own="0-7", effective="0-7")}, "rewritten to 0-7"),
        ("an outer cgroup was narrowed", {"now": seen("0-3", effective="0-3")}, "allows pCPU"),
        (
            "the thread is no longer in its cgroup",
            {"now": seen("0-3", cgroup=f"0::{SCOPE}/libvirt/emulator\n")},
            "not in vcpu0",
        ),
        ("a mask beyond the cgroup, which nothing explains", {"now": seen("4,9")}, "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_causes_by_their_traces(what: str, now: dict[str, HostObservation], words: str) -> None:
    assert words in cause(**now)  # type: ignore[arg-type]


def test_version_1_moves_a_thread_up_when_its_last_pcpu_goes() -> None:
    now = host(
        observed(1, files={f"{TASK}/status": status("CPU 0/KVM", "0-15"), f"{TASK}/cgroup": f"4:cpuset:{SCOPE}\n"})
    )
    assert "went offline and came back" in cause(now)


def test_an_earlier_reading_tells_that_a_pcpu_came_back() -> None:
    before = msgspec.structs.replace(seen("0-3"), online=CpuSet.parse("0-3,5-15"))
    assert cause(seen("0-15"), before=before) == "pCPU 4 went offline and came back"
    assert cause(seen("4,9"), before=seen("4")) == "unknown"


def test_a_thread_that_is_gone_has_no_cause() -> None:
    assert find_cause("db", 1, Expectation(placement=DB), host(observed())) == "unknown"
    assert find_cause("nobody", 4004, Expectation(placement=DB), host(observed())) == "unknown"


def test_interrupts_that_moved_since_the_reading_before() -> None:
    def with_irq(cpus: str, *, irqbalance: bool) -> HostObservation:
        irq = ObservedIrq(number=24, name="eth0", allowed=CpuSet.parse(cpus), effective=CpuSet.parse(cpus))
        return host(irqs=(irq,), irqbalance=irqbalance)

    finding = Finding(code="irq", message="", guest="db", actual="24")
    expectation = Expectation(placement=DB)
    moved = with_cause(finding, expectation, with_irq("4", irqbalance=True), with_irq("0", irqbalance=True))
    assert moved.cause == "irqbalance runs and moved it: it was allowed 0, now 4"
    by_hand = with_cause(finding, expectation, with_irq("4", irqbalance=False), with_irq("0", irqbalance=False))
    assert by_hand.cause is not None
    assert "smp_affinity" in by_hand.cause
    still = with_cause(finding, expectation, with_irq("4", irqbalance=True), with_irq("4", irqbalance=True))
    assert still.cause is None


@pytest.mark.parametrize(
    ("configured", "who"),
    [
        (DB, "somebody set the class of the thread (chrt, sched_setscheduler)"),
        (msgspec.structs.replace(DB, schedules=Schedules({0: Schedule("fifo", 4)})), "libvirt sets classes when"),
        (None, "unknown"),
    ],
)
def test_a_class_that_differs_is_chrt_s_or_was_never_libvirt_s(configured: Placement | None, who: str) -> None:
    finding = Finding(code="scheduler-differs", message="", guest="db", tid=4004)
    found = with_cause(finding, Expectation(placement=DB, configured=configured), host(observed()))
    assert found.cause is not None
    assert found.cause.startswith(who)
