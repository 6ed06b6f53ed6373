"""What drifted, put back: masks through libvirt, forgotten threads one by one; or why it must not be touched."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

from agent.compute.change import change
from agent.compute.driver import Driver
from agent.compute.guest_state import Masks, read_masks
from agent.compute.journal import Journal
from agent.compute.masks import masks_of
from agent.compute.obstacle import find_obstacle
from agent.compute.prove import verify_host
from agent.compute.settle import settle_threads
from agent.core.errors import CellwrightError
from agent.core.verdict import Finding, GuestVerdict
from agent.domain.parse import parse_intent

MASK_CODES = ("mask-differs", "cgroup-differs")


class Result(StrEnum):
    """What became of one finding."""

    REPAIRED = "repaired"
    LEFT = "left alone"
    FAILED = "failed"


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, its cause where it is known, and what was done; ``why`` says why it was not repaired."""

    guest: str
    finding: str
    cause: str | None
    result: Result
    why: str = ""


def apply_repair(
    libvirt: Driver, journal: Journal, *, names: Collection[str] | None = None, dry_run: bool = False
) -> tuple[Repair, ...]:
    """Repair the guests ``names``, or every running one of ours; a dry run says what would be done."""
    done: list[Repair] = []
    for guest in verify_host(libvirt, names=names, quick=True).guests:
        if guest.findings:
            done += _repair_guest(libvirt, journal, guest, dry_run=dry_run)
    return tuple(done)


def why_not(guest: GuestVerdict, finding: Finding) -> str:
    """Why a finding must not be repaired here; "" when it may."""
    if guest.expectation != "placement":
        return "a foreign guest is never touched: cellwright adopt takes it in"
    if finding.code == "pcpu-offline":
        return "the pCPU is offline: bring it back, or place the guest again with cellwright pin"
    if any(one.code == "other-host" for one in guest.findings):
        return "its placement is for another host: place it here with cellwright pin"
    if finding.code not in MASK_CODES:
        return "no mask can repair this"
    return ""


def _repair_guest(libvirt: Driver, journal: Journal, guest: GuestVerdict, *, dry_run: bool) -> list[Repair]:
    reasons = {finding: why_not(guest, finding) for finding in guest.findings}
    failed = obstacle = ""
    still: set[tuple[str, int | None]] = set()
    if not dry_run and not all(reasons.values()):
        try:
            _put_back(libvirt, journal, guest.name)
            after = verify_host(libvirt, names=[guest.name], quick=True).guests
            still = {(finding.code, finding.tid) for one in after for finding in one.findings}
        except CellwrightError as why:
            failed = str(why)
        if failed or still:
            obstacle = find_obstacle(libvirt, guest.name)
    return [
        _outcome(finding, reasons[finding], failed=failed, still=still, obstacle=obstacle) for finding in guest.findings
    ]


def _outcome(
    finding: Finding, reason: str, *, failed: str, still: set[tuple[str, int | None]], obstacle: str
) -> Repair:
    result, why = Result.REPAIRED, ""
    if reason:
        result, why = Result.LEFT, reason
    elif failed:
        result, why = Result.FAILED, f"{failed}; {obstacle}" if obstacle else failed
    elif (finding.code, finding.tid) in still:
        result, why = Result.FAILED, obstacle or "it was set, and something set it back, or the kernel refused"
    return Repair(guest=finding.guest, finding=finding.message, cause=finding.cause, result=result, why=why)


def _put_back(libvirt: Driver, journal: Journal, name: str) -> None:
    """Every mask again, also those that libvirt believes in place: it is the kernel that has others."""
    intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
    if intent is None:
        return
    wanted: Masks = masks_of(intent.placement, read_masks(libvirt, name))
    with change(libvirt, journal, verb="repair", name=name):
        libvirt.pin_emulator(name, wanted.emulator)
        libvirt.pin_iothreads(name, wanted.iothreads)
        libvirt.pin_vcpus(name, wanted.vcpus)
        settle_threads(libvirt, name)
