"""A Verdict as text: a block a guest with its threads, its memory, and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

from agent.core.codec import encode
from agent.core.observation import CellPages, PageSums, Role
from agent.core.units import format_kib
from agent.core.verdict import CellCheck, Drift, Finding, GuestVerdict, ThreadCheck, Verdict

WIDTH = 96
"""Columns that wrapped text keeps to; tables are as wide as their masks need."""

BUSIEST = 3
"""Interrupts that the table names."""


def render_verdict(verdict: Verdict) -> str:
    """The table for people."""
    lines = []
    for guest in verdict.guests:
        lines += [*_guest(guest), ""]
    if not verdict.guests and not verdict.not_checked:
        lines.append(f"no running guests on {verdict.host}")
    for phrase in verdict.not_checked:
        lines += _labelled("not checked", phrase)
    return "\n".join(lines).rstrip("\n") + "\n"


def render_evidence(verdict: Verdict, *, versions: Sequence[tuple[str, str]]) -> str:
    """A text to archive: what was checked where, when and by which programs, the table, and a digest.

    The digest is SHA-256 over the verdict's JSON, which follows it on one line: whoever has the text can check that
    figures and digest belong together.
    """
    import hashlib  # loads OpenSSL, which the other forms have no use for

    document = encode(verdict)
    lines = [
        "Cellwright verification",
        f"host       {verdict.host}",
        f"kernel     {verdict.kernel or 'unknown'}",
        f"time       {verdict.checked_at or 'unknown'}",
        *(f"{name:<10} {version}" for name, version in versions),
        f"extent     {'masks only' if verdict.quick else 'masks, memory, neighbours, interrupts'}",
        f"result     {_result(verdict.ok, verdict.proven)}",
        "",
        render_verdict(verdict),
        f"sha256     {hashlib.sha256(document).hexdigest()}",
        f"document   {document.decode()}",
    ]
    return "\n".join(lines) + "\n"


def render_drift(drift: Drift) -> str:
    """One line: when, which guest, what happened, and why where that is known."""
    words = {"appeared": "DRIFT", "unchecked": "NOT CHECKED"}
    cause = (
        f"; cause: {drift.finding.cause}"
        if drift.change == "appeared" and drift.finding and drift.finding.cause
        else ""
    )
    return (
        f"{drift.at or '-':<20}  {drift.guest or '-'}  {words.get(drift.change, drift.change)}  {drift.message}{cause}"
    )


def _guest(guest: GuestVerdict) -> list[str]:
    pid = "unknown" if guest.pid is None else guest.pid
    source = "its placement" if guest.expectation == "placement" else "its own XML (a foreign guest)"
    lines = [f"{guest.name}  {_result(guest.ok, guest.proven)}"]
    owned = f", owns pCPU {guest.owned}" if guest.owned else ", owns no pCPU"
    lines.append(f"  pid {pid}, {guest.state}, compared with {source}{owned}")
    if guest.threads:
        lines += ["", *_threads(guest.threads)]
    if guest.cells:
        lines += ["", *_cells(guest.cells)]
    if guest.memory:
        lines += ["", *_sums(guest.memory)]
    if guest.elsewhere:
        lines += ["", *_elsewhere(guest)]
    notes = [*_findings("FINDING", guest.findings), *_notices(guest.notices)]
    for phrase in guest.not_checked:
        notes += _labelled("not checked", phrase)
    return [*lines, "", *notes] if notes else lines


def _result(ok: bool, proven: bool) -> str:
    return "OK, proven" if proven else "nothing found, but NOT PROVEN" if ok else "FINDINGS"


def _threads(checks: Iterable[ThreadCheck]) -> list[str]:
    head = ("thread", "tid", "name", "expected", "allowed", "cgroup", "last", "class", "waited", "")
    rows = [
        (
            _thread(check),
            str(check.tid),
            check.name,
            _or_dash(check.expected),
            _or_dash(check.actual),
            _or_dash(check.cgroup_cpus),
            _or_dash(check.last_cpu),
            check.scheduler + (f" {check.priority}" if check.priority else "") if check.scheduler else "-",
            "-" if check.wait_ns is None else f"{check.wait_ns / 1e9:.1f} s",
            _mark(check.ok),
        )
        for check in checks
    ]
    return _columns(head, rows, right=(1, 6, 8))


def _cells(checks: Iterable[CellCheck]) -> list[str]:
    head = ("memory", "on cell", "wanted", "resident", "pages by host cell", "local", "policy", "")
    rows = [
        (
            "all of it" if check.guest_cell is None else f"guest cell {check.guest_cell}",
            str(check.host_cells) or "any",
            format_kib(check.memory_kib),
            "unknown" if check.resident_kib is None else format_kib(check.resident_kib),
            _pages(check.pages) or "none",
            "-" if check.local_ratio is None else f"{check.local_ratio:.1%}",
            ", ".join(check.policies) or "-",
            _mark(check.ok),
        )
        for check in checks
    ]
    return _columns(head, rows, right=(2, 3, 5))


def _sums(sums: PageSums) -> list[str]:
    """The whole process, as the well-known numa_maps summaries have it."""
    head = ("process", "pages", "of", "GiB")
    rows = [
        (f"N{one.host_cell}", str(one.pages), format_kib(one.page_kib), f"{one.pages * one.page_kib / (1 << 20):.2f}")
        for one in sums.cells
    ]
    kinds = [
        f"{name} {format_kib(kib)}"
        for name, kib in (
            ("anon", sums.anon_kib),
            ("dirty", sums.dirty_kib),
            ("mapped", sums.mapped_kib),
            ("active", sums.active_kib),
            ("swapcache", sums.swapcache_kib),
            ("writeback", sums.writeback_kib),
        )
        if kib or name in ("anon", "dirty", "mapped", "active")
    ]
    return [*_columns(head, rows, right=(1, 3)), f"  {', '.join(kinds)}, mapmax {sums.mapmax}"]


def _elsewhere(guest: GuestVerdict) -> list[str]:
    head = ("elsewhere", "on cell", "what", "policy")
    rows = [
        (format_kib(one.kib), str(one.host_cell), f"{one.address} {one.what}", one.policy) for one in guest.elsewhere
    ]
    return _columns(head, rows, right=(1,))


def _pages(pages: Iterable[CellPages]) -> str:
    return ", ".join(f"N{one.host_cell} {one.pages}×{format_kib(one.page_kib)}" for one in pages)


def _findings(label: str, findings: Iterable[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines += _labelled(label, finding.message + (f"; cause: {finding.cause}" if finding.cause else ""))
    return lines


def _notices(notices: Sequence[Finding]) -> list[str]:
    """Notices as they are; of many interrupts the busiest, and how many others there are."""
    irqs = sorted((one for one in notices if one.code == "irq"), key=lambda one: -(one.count or 0))
    lines = _findings("notice", [one for one in notices if one.code != "irq"] + irqs[:BUSIEST])
    if irqs[BUSIEST:]:
        lines += _labelled(
            "notice", f"{len(irqs) - BUSIEST} quieter IRQs land on owned pCPUs too (--format json has all)"
        )
    return lines


def _labelled(label: str, text: str) -> list[str]:
    first, *more = wrap(text, WIDTH - 15, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {label:<11}  {first}", *(" " * 15 + line for line in more)]


def _thread(check: ThreadCheck) -> str:
    word = {Role.VCPU: "vCPU", Role.IOTHREAD: "I/O thread"}.get(check.role, str(check.role))
    return word if check.number is None else f"{word} {check.number}"


def _mark(ok: bool | None) -> str:
    return "ok" if ok else "-" if ok is None else "WRONG"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _columns(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    """Rows in columns of two blanks' distance; the columns in ``right`` are right-aligned."""
    table = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return [
        "  "
        + "  ".join(
            text.rjust(widths[column]) if column in right else text.ljust(widths[column])
            for column, text in enumerate(row)
        ).rstrip()
        for row in table
    ]
