"""Guest memory against the placement: on which host cells its pages are, of which size, under which policy."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.cpuset import CpuSet
from agent.core.observation import CellPages, GuestRam, ObservedMemory
from agent.core.placement import PlacedCell, Placement
from agent.core.policy import MemPolicy
from agent.core.units import format_kib
from agent.core.verdict import CellCheck, Elsewhere, Finding

WANTED_RATIO = {
    MemPolicy.STRICT: 1.0,
    MemPolicy.INTERLEAVE: 1.0,
    MemPolicy.RESTRICTIVE: 0.99,
    MemPolicy.PREFERRED: 0.9,
}
"""The part of the resident guest memory that has to be on the wanted cell.

Strict and interleaved pages cannot be anywhere else, so one page elsewhere is a finding.  Restrictive memory is bound
by the cgroup alone, which lets through what was touched before; preferred memory may spill when the cell is full.
Without a policy nothing is demanded, and the ratio is shown.
"""

_KERNEL_POLICIES = {
    MemPolicy.STRICT: ("bind",),
    MemPolicy.PREFERRED: ("prefer", "prefer (many)"),
    MemPolicy.INTERLEAVE: ("interleave", "weighted interleave"),
}
LONGEST_LIST = 12
"""Mappings with pages elsewhere that are listed, largest first."""


def check_cells(wanted: Placement, memory: ObservedMemory) -> tuple[CellCheck, ...]:
    """One check for every guest cell; for a guest without cells one of all its memory, which nothing is demanded of."""
    if not wanted.cells:
        return (_check_cell(wanted, None, memory.ram),) if memory.ram else ()
    checks = []
    for cell in sorted(wanted.cells, key=lambda one: one.guest_cell):
        blocks = [ram for ram in memory.ram if ram.backend.guest_cell == cell.guest_cell]
        if len(wanted.cells) == 1 and not blocks:
            blocks = list(memory.ram)  # a guest that shows its only cell to nobody
        checks.append(_check_cell(wanted, cell, blocks))
    return tuple(checks)


def _check_cell(wanted: Placement, cell: PlacedCell | None, blocks: Iterable[GuestRam]) -> CellCheck:
    blocks = tuple(blocks)
    unknown = not blocks or any(ram.identified_by is None for ram in blocks)
    host_cells = CpuSet([cell.host_cell]) if cell else CpuSet()
    pages = _add(ram.pages for ram in blocks)
    resident = sum(one.page_kib * one.pages for one in pages)
    local = sum(one.page_kib * one.pages for one in pages if one.host_cell in host_cells)
    ratio = local / resident if cell and resident and not unknown else None
    least = WANTED_RATIO[wanted.mempolicy] if cell and wanted.mempolicy else 0.0
    signs = ("order", "size", "size and policy", "file")
    return CellCheck(
        guest_cell=cell.guest_cell if cell else None,
        host_cells=host_cells,
        memory_kib=cell.memory_kib if cell else wanted.memory_kib,
        resident_kib=None if unknown else resident,
        pages=pages,
        local_ratio=ratio,
        wanted_ratio=least,
        policies=tuple(sorted({policy for ram in blocks for policy in ram.policies})),
        page_kib=cell.page_kib if cell else None,
        identified_by=None if unknown else min((ram.identified_by or "" for ram in blocks), key=signs.index),
        ok=None if unknown else ratio is None or ratio >= least,
    )


def find_memory_findings(wanted: Placement, guest: str, checks: Iterable[CellCheck]) -> list[Finding]:
    """Pages on other cells, pages of another size, areas under another memory policy."""
    found = []
    for check in checks:
        if check.guest_cell is None or check.identified_by is None:
            continue

        def finding(code: str, message: str, expected: str, actual: str, cell: int = check.guest_cell) -> Finding:
            return Finding(
                code=code,
                message=f"guest cell {cell}: {message}",
                guest=guest,
                guest_cell=cell,
                expected=expected,
                actual=actual,
            )

        if check.local_ratio is not None and check.local_ratio < check.wanted_ratio:
            away = sum(one.page_kib * one.pages for one in check.pages if one.host_cell not in check.host_cells)
            message = (
                f"{format_kib(away)} of {format_kib(check.resident_kib or 0)} resident memory is not on host cell"
                f" {check.host_cells}: {check.local_ratio:.1%} local, expected {check.wanted_ratio:.0%}"
            )
            found.append(finding("pages-elsewhere", message, f"{check.wanted_ratio:.4f}", f"{check.local_ratio:.4f}"))
        sizes = sorted({one.page_kib for one in check.pages})
        if check.page_kib is not None and sizes and sizes != [check.page_kib]:
            shown = ", ".join(format_kib(size) for size in sizes)
            message = f"pages of {shown}, expected {format_kib(check.page_kib)}"
            found.append(finding("page-size-differs", message, str(check.page_kib), ",".join(map(str, sizes))))
        odd = [policy for policy in check.policies if not _policy_fits(policy, wanted.mempolicy, check.host_cells)]
        if odd:
            message = f"memory policy {', '.join(odd)}, expected {wanted.mempolicy} on host cell {check.host_cells}"
            found.append(finding("policy-differs", message, f"{wanted.mempolicy}:{check.host_cells}", ",".join(odd)))
    return found


def find_elsewhere(wanted: Placement, memory: ObservedMemory) -> tuple[Elsewhere, ...]:
    """The mappings with pages on host cells that the guest should not use, largest first.

    Guest RAM belongs on its cell's host cell; QEMU's own memory on any host cell of the guest.
    """
    if not wanted.cells:
        return ()
    host_cell_of = {cell.guest_cell: cell.host_cell for cell in wanted.cells}
    everywhere = CpuSet(host_cell_of.values())
    cell_at: dict[int, int] = {}
    for ram in memory.ram:
        if ram.backend.guest_cell in host_cell_of:
            cell_at.update(dict.fromkeys(ram.addresses, ram.backend.guest_cell))
    found = []
    for area in memory.areas:
        guest_cell = cell_at.get(area.address)
        allowed = everywhere if guest_cell is None else CpuSet([host_cell_of[guest_cell]])
        for host_cell, pages in sorted(area.pages.items()):
            if host_cell not in allowed:
                found.append(
                    Elsewhere(
                        address=f"{area.address:x}",
                        what=area.what if guest_cell is None else f"guest RAM of cell {guest_cell}",
                        policy=area.policy,
                        host_cell=host_cell,
                        page_kib=area.page_kib or 0,
                        kib=pages * (area.page_kib or 0),
                        guest_cell=guest_cell,
                    )
                )
    found.sort(key=lambda one: (-one.kib, one.address, one.host_cell))
    return tuple(found[:LONGEST_LIST])


def find_unproven(wanted: Placement, checks: Iterable[CellCheck]) -> list[str]:
    """What the reading leaves open about guest memory."""
    unproven = []
    for check in checks:
        what = "guest memory" if check.guest_cell is None else f"memory of guest cell {check.guest_cell}"
        if check.identified_by is None:
            unproven.append(f"{what}: its areas could not be told from the rest of the process")
        elif check.identified_by == "order" and len({cell.host_cell for cell in wanted.cells}) > 1:
            unproven.append(f"{what}: told from that of other cells by order of allocation alone")
    return unproven


def why_no_rebind(checks: Iterable[CellCheck]) -> str:
    """Why the kernel cannot give the guest's mappings their wanted cells from outside; "" when it can.

    A policy belongs to the process that set it.  It follows the cells of the process's cpuset, keeping their order
    (mpol_rebind_nodemask in mm/mempolicy.c), and never changes its mode.
    """
    moves = []
    for check in checks:
        for policy in check.policies:
            cells = CpuSet.parse(policy.rpartition(":")[2]) if ":" in policy else CpuSet()
            if len(cells) != 1 or len(check.host_cells) != 1:
                return f"memory policy {policy} is QEMU's own, and only a new start makes another of it"
            moves.append((cells.first(), check.host_cells.first()))
    here, there = [cell for cell, _ in sorted(moves)], [cell for _, cell in sorted(moves)]
    if there != sorted(there) or set(here) == set(there):
        return "the kernel lets policies follow to other cells in their order only: the guest must be started again"
    return ""


def _policy_fits(text: str, policy: MemPolicy | None, host_cells: CpuSet) -> bool:
    names = _KERNEL_POLICIES.get(policy) if policy else None
    if names is None:
        return True
    mode, _, cells = text.rpartition(":")
    return mode.partition("=")[0] in names and CpuSet.parse(cells) == host_cells


def _add(groups: Iterable[tuple[CellPages, ...]]) -> tuple[CellPages, ...]:
    sums: dict[tuple[int, int], int] = {}
    for pages in groups:
        for one in pages:
            key = one.host_cell, one.page_kib
            sums[key] = sums.get(key, 0) + one.pages
    return tuple(CellPages(*key, count) for key, count in sorted(sums.items()))
