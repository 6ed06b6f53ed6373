"""Everything that was expected against everything that was seen: one Verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent.core.observation import HostObservation, ObservedGuest
from agent.core.verdict import Finding, GuestVerdict, Verdict
from agent.verification.cause import with_cause
from agent.verification.expectation import Expectation
from agent.verification.memory import check_cells, find_elsewhere, find_memory_findings, find_unproven
from agent.verification.neighbours import check_neighbours
from agent.verification.next_start import find_next_start
from agent.verification.threads import check_threads, find_thread_findings, find_unproven_threads


def check_host(
    expectations: Mapping[str, Expectation],
    observation: HostObservation,
    *,
    names: Collection[str] | None = None,
    quick: bool = False,
    before: HostObservation | None = None,
) -> Verdict:
    """Judge the guests ``names`` (all of them when None); the others count only where they overlap with these.

    ``before`` is an earlier observation of the same host; it helps to name the cause of what drifted since.
    """
    chosen = [guest for guest in observation.guests if guest.name in expectations]
    if names is not None:
        chosen = [guest for guest in chosen if guest.name in names]
    guests = tuple(
        _check_guest(guest, expectations, observation, quick=quick, before=before)
        for guest in sorted(chosen, key=lambda one: one.name)
    )
    return Verdict(
        host=observation.hostname,
        checked_at=observation.collected_at,
        kernel=observation.kernel,
        ok=all(guest.ok for guest in guests),
        proven=all(guest.proven for guest in guests) and not observation.not_checked,
        quick=quick,
        guests=guests,
        not_checked=observation.not_checked,
    )


def _check_guest(
    guest: ObservedGuest,
    expectations: Mapping[str, Expectation],
    observation: HostObservation,
    *,
    quick: bool,
    before: HostObservation | None,
) -> GuestVerdict:
    expectation = expectations[guest.name]
    wanted = expectation.placement
    not_checked = [*guest.not_checked, *find_unproven_threads(guest)]
    threads = check_threads(wanted, guest)
    findings = find_thread_findings(expectation, guest, threads, online=observation.online, present=observation.present)
    notices: list[Finding] = []
    cells = check_cells(wanted, guest.memory) if guest.memory else ()
    if guest.memory:
        findings += find_memory_findings(wanted, guest.name, cells)
        not_checked += find_unproven(wanted, cells)
    if not quick:
        more_findings, notices = check_neighbours(guest.name, expectations, observation)
        findings += more_findings
    notices += find_next_start(guest.name, expectation)
    findings += _other_host(guest.name, expectation, observation)
    explained = tuple(with_cause(finding, expectation, observation, before) for finding in findings)
    return GuestVerdict(
        name=guest.name,
        pid=guest.pid,
        state=guest.state,
        ok=not explained,
        proven=not explained and not not_checked,
        expectation="domain XML" if expectation.foreign else "placement",
        owned=wanted.owned(),
        threads=threads,
        cells=cells,
        memory=guest.memory.sums if guest.memory else None,
        elsewhere=find_elsewhere(wanted, guest.memory) if guest.memory else (),
        findings=explained,
        notices=tuple(notices),
        not_checked=tuple(not_checked),
    )


def _other_host(name: str, expectation: Expectation, observation: HostObservation) -> list[Finding]:
    """A placement that was made for another host: its pCPUs and cells mean nothing here."""
    host = expectation.placement.host
    if not host or host == observation.hostname:
        return []
    message = f"its placement was made for host {host}, this is {observation.hostname}"
    return [Finding(code="other-host", message=message, guest=name, expected=host, actual=observation.hostname)]
