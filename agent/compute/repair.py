"""What drifted, put back: cpusets, masks, scheduling classes and, when asked, pages; or why it must not be touched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum

import msgspec

from agent.compute.change import change
from agent.compute.driver import Driver
from agent.compute.guest_state import Masks, read_masks
from agent.compute.journal import Journal
from agent.compute.kernel_state import write_cpusets
from agent.compute.masks import masks_of
from agent.compute.memory import bring_pages_home, read_memory_state
from agent.compute.move_pages import Moved
from agent.compute.obstacle import describe_obstacle, find_ours_to_widen
from agent.compute.prove import observe_host, verify_host
from agent.compute.settle import settle_threads
from agent.core.errors import CellwrightError
from agent.core.verdict import Finding, GuestVerdict
from agent.domain.parse import parse_intent
from agent.verification.memory import why_no_rebind

THREAD_CODES = ("mask-differs", "cgroup-differs", "scheduler-differs")
PAGE_CODES = ("pages-elsewhere", "policy-differs")
OWN_CODES = (
    *THREAD_CODES,
    *PAGE_CODES,
    "page-size-differs",
    "pcpu-offline",
    "pcpu-absent",
    "vcpus-differ",
    "other-host",
)
"""What a guest's own threads and pages can have wrong; overlaps and interrupts concern others too."""

UNREPAIRABLE = {
    "pcpu-offline": "the pCPU is offline: bring it back, or place the guest again with cellwright pin",
    "pcpu-absent": "this host has no such pCPU: place the guest again with cellwright pin",
    "page-size-differs": "pages keep their size until the guest is started again",
    "vcpus-differ": "threads come with vCPUs: unplug or plug them, or place the guest again with cellwright pin",
}


class PageWish(msgspec.Struct, frozen=True):
    """Pages are to be put back too, at most so many MiB a second; ``progress`` hears how far it came."""

    mib_per_s: int
    progress: Callable[[Moved], None] = lambda _moved: None


class Result(StrEnum):
    """What became of one finding."""

    REPAIRED = "repaired"
    WOULD_BE = "would be repaired"
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
    libvirt: Driver,
    journal: Journal,
    *,
    names: Collection[str] | None = None,
    pages: PageWish | None = None,
    dry_run: bool = False,
) -> tuple[Repair, ...]:
    """Repair the guests ``names``, or every running one of ours; a dry run says what would be done.

    Without ``pages`` no page is looked at: reading them walks the page tables of every guest.
    """
    done: list[Repair] = []
    for guest in verify_host(libvirt, names=names, quick=pages is None).guests:
        own = tuple(finding for finding in guest.findings if finding.code in OWN_CODES)
        if own:
            guest = msgspec.structs.replace(guest, findings=own)
            done += _repair_guest(libvirt, journal, guest, pages=pages, dry_run=dry_run)
    return tuple(done)


def why_not(guest: GuestVerdict, finding: Finding) -> str:
    """Why a finding must not be repaired here; "" when it may."""
    if guest.expectation != "placement":
        return "a foreign guest is never touched: cellwright adopt takes it in"
    if finding.code in UNREPAIRABLE:
        return UNREPAIRABLE[finding.code]
    if any(one.code == "other-host" for one in guest.findings):
        return "its placement is for another host: place it here with cellwright pin"
    if finding.code in PAGE_CODES:
        if any(cell.identified_by == "order" for cell in guest.cells):
            return "which pages are which guest cell's was told by their order alone, so the wrong ones could move"
        return why_no_rebind(guest.cells) if finding.code == "policy-differs" else ""
    return "" if finding.code in THREAD_CODES else "nothing that a repair sets changes this"


def _repair_guest(
    libvirt: Driver, journal: Journal, guest: GuestVerdict, *, pages: PageWish | None, dry_run: bool
) -> list[Repair]:
    reasons = {finding: why_not(guest, finding) for finding in guest.findings}
    mend = [finding for finding, reason in reasons.items() if not reason]
    failed: str = ""
    still: dict[tuple[str, int | None, int | None], str] = {}
    if mend and not dry_run:
        move = pages if any(finding.code in PAGE_CODES for finding in mend) else None
        try:
            refused = _put_back(libvirt, journal, guest.name, pages=move)
            after = verify_host(libvirt, names=[guest.name], quick=move is None).guests
            still = {_key(found): refused.get(found.tid, "") for one in after for found in one.findings}
        except CellwrightError as why:
            failed = str(why)
        if failed or still:
            obstacle = _find_obstacle(libvirt, guest.name)
            failed = f"{failed}; {obstacle}" if failed and obstacle else failed
            still = {key: obstacle or why for key, why in still.items()}
    mended = Result.WOULD_BE if dry_run else Result.REPAIRED
    return [_outcome(finding, reasons[finding], mended, failed=failed, still=still) for finding in guest.findings]


def _key(finding: Finding) -> tuple[str, int | None, int | None]:
    return finding.code, finding.tid, finding.guest_cell


def _outcome(
    finding: Finding, reason: str, mended: Result, *, failed: str, still: dict[tuple[str, int | None, int | None], str]
) -> Repair:
    result, why = mended, ""
    if reason:
        result, why = Result.LEFT, reason
    elif failed:
        result, why = Result.FAILED, failed
    elif _key(finding) in still:
        result, why = Result.FAILED, still[_key(finding)] or "it was set, and something set it back at once"
    return Repair(guest=finding.guest, finding=finding.message, cause=finding.cause, result=result, why=why)


def _find_obstacle(libvirt: Driver, name: str) -> str:
    observation, expectations = observe_host(libvirt, names=[name], quick=True, must_run=False)
    return "" if name not in expectations else describe_obstacle(observation, name, expectations[name])


def _put_back(libvirt: Driver, journal: Journal, name: str, *, pages: PageWish | None) -> dict[int | None, str]:
    """Everything again, also what libvirt believes in place: it is the kernel that has it otherwise.

    The answer says why the kernel refused a thread its mask or class, by thread id.
    """
    intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
    if intent is None:
        return {}
    wanted: Masks = masks_of(intent.placement, read_masks(libvirt, name))
    memory = read_memory_state(libvirt, name) if pages else None
    with change(libvirt, journal, verb="repair", name=name, memory=memory, moves_pages=memory is not None):
        observation, expectations = observe_host(libvirt, names=[name], quick=True)
        narrow = find_ours_to_widen(observation, name, expectations[name])
        write_cpusets({one.path: cpus for one, cpus in narrow}, tuple(one for one, _ in narrow))
        libvirt.pin_emulator(name, wanted.emulator)
        libvirt.pin_iothreads(name, wanted.iothreads)
        libvirt.pin_vcpus(name, wanted.vcpus)
        settled = settle_threads(libvirt, name)
        if pages and memory is not None:
            bring_pages_home(libvirt, name, memory, mib_per_s=pages.mib_per_s, progress=pages.progress)
    return {one.tid: one.why_not for one in settled if one.why_not}
