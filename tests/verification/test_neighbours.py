import msgspec

from agent.core.cpuset import CpuSet
from agent.core.observation import HostObservation, Neighbour, ObservedGuest, ObservedIrq, ObservedThread, Role
from agent.core.placement import Placement
from agent.verification.expectation import Expectation
from agent.verification.neighbours import check_neighbours
from tests.verification.guests import DB, cell, host

WEB = msgspec.structs.replace(DB, name="web", cells=(cell(0, 0, {0: "5", 1: "6"}),), iothreads={})
DAEMON = Neighbour(pid=900, tid=901, name="sshd", allowed=CpuSet.parse("0-15"), last_cpu=4)


def judge(wanted: Placement, observation: HostObservation, *others: Placement) -> tuple[list[str], list[str]]:
    expectations = {one.name: Expectation(placement=one) for one in (wanted, *others)}
    findings, notices = check_neighbours(wanted.name, expectations, observation)
    return [one.code for one in findings], [one.code for one in notices]


def test_guests_on_their_own_pcpus_do_not_meet() -> None:
    assert judge(DB, host(), WEB) == ([], [])


def test_one_pcpu_with_two_owners_is_a_finding_for_both() -> None:
    thief = msgspec.structs.replace(WEB, cells=(cell(0, 0, {0: "4", 1: "6"}),))
    expectations = {one.name: Expectation(placement=one) for one in (DB, thief)}
    for name in ("db", "web"):
        (finding,), _ = check_neighbours(name, expectations, host())
        assert finding.code == "two-owners"
        assert finding.message.startswith("pCPU 4 is owned by two guests")


def test_an_idle_sibling_that_is_kept_counts_as_owned() -> None:
    keeper = msgspec.structs.replace(DB, reserved=CpuSet([6]))
    assert judge(keeper, host(), WEB)[0] == ["two-owners"]


def test_a_thread_of_another_guest_that_may_run_here_is_told_with_where_it_ran() -> None:
    thread = ObservedThread(tid=1, name="CPU 0/KVM", role=Role.VCPU, number=0, allowed=CpuSet([4, 9]), last_cpu=9)
    other = ObservedGuest(name="web", threads=(thread,))
    _, (notice,) = check_neighbours("db", {"db": Expectation(placement=DB)}, host(other))
    assert notice.message == "1 thread of guest web may run on owned pCPU 4; none last ran there"


def test_a_daemon_that_may_run_here_and_one_that_did_are_two_notices() -> None:
    away = msgspec.structs.replace(DAEMON, tid=902, last_cpu=0)
    assert judge(DB, host(neighbours=(away,))) == ([], ["host-thread-allowed"])
    assert judge(DB, host(neighbours=(DAEMON,))) == ([], ["host-thread-allowed", "host-thread-ran"])
    elsewhere = msgspec.structs.replace(DAEMON, allowed=CpuSet.parse("0-3"), last_cpu=0)
    assert judge(DB, host(neighbours=(elsewhere,))) == ([], [])


def test_a_daemon_on_an_isolated_or_realtime_pcpu_is_a_finding() -> None:
    isolated = host(neighbours=(DAEMON,), isolated=CpuSet([4]))
    assert judge(DB, isolated) == (["host-thread-ran"], ["host-thread-allowed"])
    realtime = msgspec.structs.replace(DB, realtime=CpuSet([0]))
    assert judge(realtime, host(neighbours=(DAEMON,)))[0] == ["host-thread-ran"]


def test_interrupts_count_where_they_are_delivered_not_where_they_might_be() -> None:
    away = ObservedIrq(number=24, name="eth0", allowed=CpuSet.parse("0-15"), effective=CpuSet([0]))
    here = ObservedIrq(
        number=25, name="eth1", allowed=CpuSet.parse("0-15"), effective=CpuSet([12]), counts={12: 9, 0: 5}
    )
    unsaid = ObservedIrq(number=26, name="eth2", allowed=CpuSet.parse("4-5"))
    _, notices = check_neighbours("db", {"db": Expectation(placement=DB)}, host(irqs=(away, here, unsaid)))
    assert [(one.actual, str(one.cpus), one.count) for one in notices] == [("25", "12", 9), ("26", "4", 0)]
    realtime = msgspec.structs.replace(DB, realtime=CpuSet([1]))
    assert judge(realtime, host(irqs=(here, unsaid))) == (["irq"], ["irq"])


def test_a_guest_that_owns_nothing_has_nothing_to_defend() -> None:
    floating = msgspec.structs.replace(DB, cells=())
    assert judge(floating, host(neighbours=(DAEMON,))) == ([], [])
