"""A whole /proc/PID/numa_maps in sums, fast: one search of the file for each key, not a look at each word.

See ``agent.inspection.numa_maps`` for the file.  Nothing but ``re`` is imported, so that a program which only sums has
begun when others are still importing.  ``add`` is how a list of decimal numbers is summed.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Add = Callable[[list[bytes]], int]

KEYS = ("anon", "dirty", "mapped", "swapcache", "active", "writeback")

SAMPLE_BYTES = 1 << 16
_CELL = re.compile(rb" N([0-9]+)=")
_PAGE_SIZE = re.compile(rb" kernelpagesize_kB=([0-9]+)")


def add_numbers(numbers: list[bytes]) -> int:
    """Their sum."""
    return sum(map(int, numbers))


def sum_areas(
    data: bytes, *, keys: Sequence[str] = KEYS, add: Add = add_numbers
) -> tuple[dict[tuple[int, int], int], dict[str, int]]:
    """(host cell, page size in KiB) → pages, which is what ``numastat -p`` tells; and each of ``keys`` in KiB."""
    by_size = _split_by_page_size(data)
    pages = {(cell, size): count for size, part in by_size.items() for cell, count in _sum_cells(part, add)}
    kib = {key: sum(size * add(_numbers(part, key.encode())) for size, part in by_size.items()) for key in keys}
    return pages, kib


def find_mapmax(data: bytes) -> int:
    """The largest ``mapmax``: by how many processes a page is mapped."""
    return max(map(int, _numbers(data, b"mapmax")), default=0)


def _sum_cells(part: bytes, add: Add) -> list[tuple[int, int]]:
    """Pages by cell.  The cells of the first lines are mostly all; whether they are is counted."""
    cells = set(_CELL.findall(part, 0, SAMPLE_BYTES))
    found = {cell: _numbers(part, b"N" + cell) for cell in cells}
    counted = sum(map(len, found.values()))
    # an N is rare elsewhere, and one letter is counted four times as fast as two
    if counted != part.count(b"N") and counted != part.count(b" N"):
        found |= {cell: _numbers(part, b"N" + cell) for cell in set(_CELL.findall(part)) - cells}
    return [(int(cell), add(numbers)) for cell, numbers in found.items()]


def _split_by_page_size(data: bytes) -> dict[int, bytes]:
    """The lines of each page size; mostly there is one, and then nothing is split."""
    first = _PAGE_SIZE.search(data)
    if first is None:
        return {}
    if data.count(first[0] + b"\n") == data.count(b" kernelpagesize_kB="):
        return {int(first[1]): data}
    lines_by_size: dict[int, list[bytes]] = {}
    for line in data.splitlines():
        if found := _PAGE_SIZE.search(line):
            lines_by_size.setdefault(int(found[1]), []).append(line)
    return {size: b"\n".join(lines) for size, lines in sorted(lines_by_size.items())}


def _numbers(data: bytes, key: bytes) -> list[bytes]:
    """Every number that ``key`` has in the file."""
    return re.findall(rb" %s=([0-9]+)" % key, data) if b" " + key + b"=" in data else []
