import hashlib

import msgspec

from agent.core.codec import encode
from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedIrq
from agent.core.policy import MemPolicy
from agent.core.verdict import Drift, Verdict
from agent.picture.verdict import WIDTH, render_drift, render_evidence, render_verdict
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host
from tests.inspection.qemu import PID, status
from tests.verification.guests import DB, host, observed

IRQS = tuple(
    ObservedIrq(number=number, name=f"eth0-{number}", effective=CpuSet([4]), counts={4: number}) for number in range(9)
)


def broken() -> Verdict:
    wanted = msgspec.structs.replace(DB, mempolicy=MemPolicy.STRICT)
    guest = observed(files={f"proc/{PID}/task/4004/status": status("CPU 0/KVM", "5")})
    return check_host({"db": Expectation(placement=wanted)}, host(guest, irqs=IRQS))


def test_a_table_has_every_thread_cell_and_finding_in_a_hundred_columns() -> None:
    text = render_verdict(broken())
    assert text.startswith("db  FINDINGS\n")
    assert "vCPU 0        4004  CPU 0/KVM        4         5        4          4  other   0.0 s  WRONG\n" in text
    assert "guest cell 1  1         1 GiB  1015.6 MiB  N0 1000×4 KiB, N1 259000×4 KiB   99.6%  bind:1  WRONG\n" in text
    assert "N1       259003  4 KiB  0.99\n" in text
    assert "FINDING      vCPU 0 (tid 4004) may run on pCPU 5, expected 4; cause: unknown\n" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_of_many_interrupts_the_busiest_are_named() -> None:
    text = render_verdict(broken())
    assert [f"IRQ {number} " in text for number in (8, 7, 6, 5)] == [True, True, True, False]
    assert "6 quieter IRQs" in text


def test_wrapped_lines_keep_to_the_width() -> None:
    guest = observed(not_checked=("a long reason " * 30,))
    text = render_verdict(check_host({"db": Expectation(placement=DB)}, host(guest)))
    assert text.startswith("db  nothing found, but NOT PROVEN\n")
    assert max(len(line) for line in text.splitlines() if "reason" in line) <= WIDTH


def test_a_host_without_guests_says_so() -> None:
    assert render_verdict(check_host({}, host())) == "no running guests on osdev-01\n"


def test_evidence_carries_versions_and_a_digest_of_its_own_document() -> None:
    verdict = broken()
    text = render_evidence(verdict, versions=(("cellwright", "1.2.3"), ("libvirt", "9.0.0")))
    assert "cellwright 1.2.3\nlibvirt    9.0.0\n" in text
    assert "result     FINDINGS\n" in text
    assert f"sha256     {hashlib.sha256(encode(verdict)).hexdigest()}\n" in text


def test_drift_is_one_line_with_its_cause_only_when_it_appears() -> None:
    finding = msgspec.structs.replace(broken().guests[0].findings[0], cause="virsh")
    drift = Drift(at="2026-11-23T01:00:00Z", guest="db", change="appeared", message="m", finding=finding)
    assert render_drift(drift) == "2026-11-23T01:00:00Z  db  DRIFT  m; cause: virsh"
    assert render_drift(msgspec.structs.replace(drift, change="cleared")) == "2026-11-23T01:00:00Z  db  cleared  m"
