from agent.core.verdict import Verdict
from agent.verification.drift import find_drift
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host
from tests.inspection.qemu import PID, status
from tests.verification.guests import DB, host, observed


def reading(*names: str, vcpu_0: str = "4", gap: str = "") -> Verdict:
    gaps = (gap,) if gap else ()
    guest = observed(files={f"proc/{PID}/task/4004/status": status("CPU 0/KVM", vcpu_0)}, not_checked=gaps)
    return check_host({name: Expectation(placement=DB) for name in names}, host(guest), quick=True)


def told(before: Verdict | None, after: Verdict, *known: tuple[str, str]) -> list[tuple[str, str]]:
    return [(one.guest, one.change) for one in find_drift(before, after, told=known)]


def test_nothing_happens_while_nothing_changes() -> None:
    assert told(None, reading("db")) == []
    assert told(reading("db"), reading("db")) == []


def test_a_mask_that_drifts_and_comes_back() -> None:
    good, bad, worse = reading("db"), reading("db", vcpu_0="4-5"), reading("db", vcpu_0="4-7")
    assert told(None, bad) == [("db", "appeared")]
    assert told(bad, bad) == []
    assert told(bad, worse) == [("db", "appeared"), ("db", "cleared")]
    assert told(worse, good) == [("db", "cleared")]


def test_what_could_not_be_read_is_told_once() -> None:
    gap = reading("db", gap="numa_maps")
    assert told(reading("db"), gap) == [("db", "unchecked")]
    assert told(gap, gap) == []


def test_guests_come_and_go_and_take_their_findings_along() -> None:
    none, bad = reading(), reading("db", vcpu_0="5")
    assert told(none, bad) == [("db", "started"), ("db", "appeared")]
    assert told(bad, none) == [("db", "stopped")]
    assert told(bad, none, ("db", "stopped")) == []
    assert told(bad, none, ("db", "shutdown")) == [("db", "stopped")], "a guest that was asked to shut down may not"
