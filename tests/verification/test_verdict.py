import msgspec

from agent.core.codec import decode, encode
from agent.core.verdict import Verdict
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host
from tests.inspection.qemu import PID, status
from tests.verification.guests import DB, codes, host, observed, verdict_of


def test_only_the_guests_that_were_asked_for_are_judged_and_the_others_still_count() -> None:
    other = observed(name="web")
    expectations = {name: Expectation(placement=msgspec.structs.replace(DB, name=name)) for name in ("db", "web")}
    verdict = check_host(expectations, host(observed(), other), names=["db"])
    assert [guest.name for guest in verdict.guests] == ["db"]
    assert codes(verdict.guests[0]) == ["two-owners"]


def test_the_document_survives_json() -> None:
    wrong = observed(files={f"proc/{PID}/task/4004/status": status("CPU 0/KVM", "4-5")})
    verdict = check_host({"db": Expectation(placement=DB)}, host(wrong))
    assert decode(encode(verdict), Verdict) == verdict
    assert b'"expected":"4","actual":"4-5"' in encode(verdict)


def test_a_placement_for_another_host_is_a_finding() -> None:
    assert codes(verdict_of(observed(), msgspec.structs.replace(DB, host="osdev-02"))) == ["other-host"]


def test_a_host_without_guests_is_proven_and_one_with_gaps_is_not() -> None:
    assert check_host({}, host()).proven
    assert not check_host({}, host(not_checked=("db: it ended while it was read",))).proven


def test_a_guest_whose_process_ended_is_not_proven() -> None:
    gone = observed(threads=(), memory=None, not_checked=("its process 4000 is gone",))
    verdict = verdict_of(gone)
    assert (verdict.ok, verdict.proven) == (True, False)


def test_quick_looks_at_no_neighbours() -> None:
    thief = msgspec.structs.replace(DB, name="web")
    expectations = {"db": Expectation(placement=DB), "web": Expectation(placement=thief)}
    verdict = check_host(expectations, host(observed()), names=["db"], quick=True)
    assert (verdict.ok, verdict.quick) == (True, True)
