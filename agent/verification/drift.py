"""What changed between two verdicts of one host."""

from __future__ import annotations

from collections.abc import Collection

from agent.core.verdict import Drift, Finding, Verdict


def find_drift(before: Verdict | None, after: Verdict, *, told: Collection[tuple[str, str]] = ()) -> tuple[Drift, ...]:
    """Guests that came and went, findings and gaps that appeared, findings that cleared.

    Without a verdict before, every finding is new and no guest is.  A finding is the same one as long as guest, thread
    or cell, and expected and actual values are; its cause may be told only by the reading in which it appeared.
    ``told`` has (guest, change) of the coming and going that is known already.
    """
    was, now = _by_identity(before), _by_identity(after)
    gaps_was, gaps_now = _gaps(before), _gaps(after)
    guests_now = {guest.name for guest in after.guests}
    guests_was = {guest.name for guest in before.guests} if before else guests_now
    drift = [
        Drift(at=after.checked_at, guest=guest, change=change, message=f"the guest has {change}")
        for change, guests in (("started", guests_now - guests_was), ("stopped", guests_was - guests_now))
        for guest in sorted(guests)
        if (guest, change) not in told
    ]
    drift += [_drift(after, "appeared", now[key]) for key in now if key not in was]
    drift += [
        Drift(at=after.checked_at, guest=guest, change="unchecked", message=message)
        for guest, message in sorted(gaps_now - gaps_was)
    ]
    cleared = [was[key] for key in was if key not in now and was[key].guest in guests_now]
    return (*drift, *(_drift(after, "cleared", finding) for finding in cleared))


def _by_identity(verdict: Verdict | None) -> dict[tuple[object, ...], Finding]:
    findings = [finding for guest in verdict.guests for finding in guest.findings] if verdict else []
    return {(one.guest, one.code, one.tid, one.guest_cell, one.expected, one.actual): one for one in findings}


def _gaps(verdict: Verdict | None) -> set[tuple[str, str]]:
    return {(guest.name, gap) for guest in verdict.guests for gap in guest.not_checked} if verdict else set()


def _drift(verdict: Verdict, change: str, finding: Finding) -> Drift:
    return Drift(at=verdict.checked_at, guest=finding.guest, change=change, message=finding.message, finding=finding)
