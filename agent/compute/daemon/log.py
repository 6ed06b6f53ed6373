"""The lines about guests that an operator looks for, each with fields for the journal (systemd.journal-fields(7)).

``journalctl CELLWRIGHT_GUEST=db-1`` has everything about a guest; a message id has everything of a kind, whatever its
words: ``journalctl MESSAGE_ID=66707ca969de49fb9c9362c182b971b8`` is every drift of every guest.
"""

from __future__ import annotations

import logging
from enum import StrEnum

from agent.compute.repair import Repair, Result
from agent.core.verdict import Drift
from agent.core.wire import Confirmation, Outcome

LOG = logging.getLogger("cellwright.agent")


class Kind(StrEnum):
    """What a line is about: the message ids, which stay as they are for ever."""

    DRIFT = "66707ca969de49fb9c9362c182b971b8"
    CLEARED = "fe8c0f74bb9b4c1086776a887ff2bb3d"
    REPAIR = "e0bec0d995dc4924ace2f41a9308e290"
    VERIFIED = "293878935f0840bca53ec8cd30cccb72"
    NOT_VERIFIED = "2134fec24b8d473b9486ce1817763e6f"
    REMOVED = "c132b6ca153c44a48ba5085daab2ade3"


def about(kind: Kind, **fields: object) -> dict[str, dict[str, str]]:
    """``extra=`` of a log call: the message id, and ``CELLWRIGHT_…`` fields of all that is known."""
    named = {f"CELLWRIGHT_{key.upper()}": str(value) for key, value in fields.items() if value not in (None, "")}
    return {"journal": {"MESSAGE_ID": str(kind), **named}}


def log_drift(drift: Drift, *, placed: bool) -> None:
    """What appeared, or cleared; on a guest that we placed it is an error."""
    finding = drift.finding
    if finding is None:
        return
    appeared = drift.change == "appeared"
    fields = about(
        Kind.DRIFT if appeared else Kind.CLEARED,
        guest=drift.guest,
        cell=finding.guest_cell,
        pcpus=finding.cpus,
        check=finding.code,
        cause=finding.cause,
    )
    who = f"{drift.guest}: " if drift.guest else ""
    cause = f"; cause: {finding.cause}" if finding.cause else ""
    level = logging.ERROR if appeared and placed else logging.WARNING
    LOG.log(level, "drift %s: %s%s%s", drift.change, who, drift.message, cause, extra=fields)


def log_repair(one: Repair) -> None:
    """What became of one finding."""
    LOG.log(
        logging.ERROR if one.result is Result.FAILED else logging.WARNING,
        "repair: %s: %s: %s%s",
        one.guest,
        one.finding,
        one.result,
        f": {one.why}" if one.why else "",
        extra=about(Kind.REPAIR, guest=one.guest, result=one.result, cause=one.cause),
    )


def log_outcome(confirmation: Confirmation, domain: str) -> None:
    """What became of an assignment."""
    instance, outcome = confirmation.instance, confirmation.outcome
    if outcome is Outcome.VERIFIED:
        fields = about(Kind.VERIFIED, guest=domain, instance=instance, result=outcome)
        LOG.warning("domain %s of instance %s runs where it was placed", domain, instance, extra=fields)
        return
    reasons = confirmation.misfit.misfits if confirmation.misfit else ()
    why = "; ".join(reason.message for reason in reasons) or confirmation.reason
    cell = next((reason.host_cell for reason in reasons if reason.host_cell is not None), None)
    fields = about(Kind.NOT_VERIFIED, guest=domain, instance=instance, result=outcome, cell=cell, cause=why)
    LOG.error("instance %s %s: %s", instance, outcome, why, extra=fields)


def log_removed(domain: str, instance: str) -> None:
    """A guest that the scheduler wanted gone is gone."""
    fields = about(Kind.REMOVED, guest=domain, instance=instance)
    LOG.warning("removed domain %s of instance %s, as the scheduler asked", domain, instance, extra=fields)
