"""Move the pages of a running process to another cell, piece by piece: move_pages(2) and migrate_pages(2).

One piece is a bounded number of pages, and between pieces there is a pause, so that the guest is never stopped for
long: the kernel unmaps, copies and maps each page while whoever touches it waits.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.observation import Cgroup

PIECE_KIB = 16 * 1024
MPOL_MF_MOVE_ALL = 4
_ENOENT = 2

_SYSCALLS = {"x86_64": (279, 256), "aarch64": (239, 238), "ppc64le": (301, 258), "s390x": (310, 287)}
"""Machine → numbers of move_pages and migrate_pages (arch/*/…/syscall.tbl of Linux)."""


class Range(msgspec.Struct, frozen=True):
    """A stretch of a process's memory that belongs on one cell; pages of ``page_kib``."""

    address: int
    size_kib: int
    page_kib: int
    cell: int


class PageRun(msgspec.Struct, frozen=True):
    """Neighbouring pages that are on ``cell`` and belong on ``home``."""

    address: int
    pages: int
    page_kib: int
    cell: int
    home: int


class MemoryState(msgspec.Struct, frozen=True):
    """What putting pages back changes: the pages that are elsewhere, and the cells that the guest's cgroups may use.

    ``nodeset`` is libvirt's own, where that rules instead (mode ``restrictive``).
    """

    pid: int
    runs: tuple[PageRun, ...]
    cgroups: tuple[Cgroup, ...] = ()
    nodeset: CpuSet | None = None


class Moved(msgspec.Struct, frozen=True):
    """How far it came, in KiB: looked at, of how much, and how much of that refused to move."""

    done_kib: int
    all_kib: int
    stuck_kib: int = 0


def move_ranges(pid: int, ranges: tuple[Range, ...], *, mib_per_s: int, progress: Callable[[Moved], None]) -> Moved:
    """Move every resident page of the ranges to its cell, at most ``mib_per_s`` on average; pages elsewhere stay.

    Raises CellwrightError without the privilege (CAP_SYS_NICE), or when the process has ended.
    """
    total = sum(one.size_kib for one in ranges)
    done = stuck = 0
    for one in ranges:
        step = max(1, PIECE_KIB // one.page_kib)
        pages = one.size_kib // one.page_kib
        for first in range(0, pages, step):
            began = time.monotonic()
            count = min(step, pages - first)
            start = one.address + first * one.page_kib * 1024
            stuck += _move(pid, start, count, page_kib=one.page_kib, cell=one.cell) * one.page_kib
            done += count * one.page_kib
            progress(Moved(done, total, stuck))
            rest = count * one.page_kib / 1024 / mib_per_s - (time.monotonic() - began)
            if rest > 0:
                time.sleep(rest)
    return Moved(done, total, stuck)


def find_runs(pid: int, ranges: tuple[Range, ...]) -> tuple[PageRun, ...]:
    """The resident pages of the ranges that are on another cell than their own; nothing is moved.

    Raises CellwrightError without the privilege (CAP_SYS_NICE), or when the process has ended.
    """
    runs: list[PageRun] = []
    for one in ranges:
        step = max(1, PIECE_KIB // one.page_kib)
        page_bytes = one.page_kib * 1024
        for first in range(0, one.size_kib // one.page_kib, step):
            count = min(step, one.size_kib // one.page_kib - first)
            start = one.address + first * page_bytes
            for number, cell in enumerate(_where(pid, start, count, page_kib=one.page_kib)):
                if cell < 0 or cell == one.cell:
                    continue
                address = start + number * page_bytes
                last = runs[-1] if runs else None
                if last and last.cell == cell and last.address + last.pages * page_bytes == address:
                    runs[-1] = msgspec.structs.replace(last, pages=last.pages + 1)
                else:
                    runs.append(PageRun(address, 1, one.page_kib, cell, one.cell))
    return tuple(runs)


def move_rest(pid: int, *, source: int, target: int) -> None:
    """Move whatever else the process has on ``source`` to ``target``: QEMU's own heap, stacks and code."""
    words = (max(source, target) + 64) // 64
    masks = [(ctypes.c_ulong * words)(), (ctypes.c_ulong * words)()]
    for mask, cell in zip(masks, (source, target), strict=True):
        mask[cell // 64] = 1 << cell % 64
    _call(1, pid, words * 64 + 1, masks[0], masks[1])


def _move(pid: int, start: int, count: int, *, page_kib: int, cell: int) -> int:
    """One piece; how many resident pages are not on the cell afterwards."""
    addresses = (ctypes.c_void_p * count)(*(start + number * page_kib * 1024 for number in range(count)))
    cells = (ctypes.c_int * count)(*[cell] * count)
    status = (ctypes.c_int * count)(*[-_ENOENT] * count)
    _call(0, pid, count, addresses, cells, status, MPOL_MF_MOVE_ALL)
    return sum(1 for found in status if found not in (cell, -_ENOENT))


def _where(pid: int, start: int, count: int, *, page_kib: int) -> list[int]:
    """The cell of each page; negative where none is resident."""
    addresses = (ctypes.c_void_p * count)(*(start + number * page_kib * 1024 for number in range(count)))
    status = (ctypes.c_int * count)(*[-_ENOENT] * count)
    _call(0, pid, count, addresses, None, status, 0)
    return list(status)


def _call(which: int, pid: int, count: int, *rest: object) -> None:
    numbers = _SYSCALLS.get(os.uname().machine)
    if numbers is None:
        raise CellwrightError(f"moving pages is not known on {os.uname().machine}; known: {', '.join(_SYSCALLS)}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(numbers[which]), ctypes.c_long(pid), ctypes.c_ulong(count), *rest) < 0:
        why = ctypes.get_errno()
        raise CellwrightError(f"process {pid}: its pages cannot be moved: {os.strerror(why)}")
