"""A whole /proc/PID/numa_maps in sums, fast: all its words of pages by cell are read as one list of numbers.

See ``agent.inspection.numa_maps`` for the file.  It is taken in pieces that stay in the processor's cache, so that a
large file is summed as fast as a small one, beside busy neighbours too, and none need be held whole.  Only what the
interpreter has built in is imported, so that a program which sums pages by cell is done when others are still
importing.  Who has a faster reader of numbers than int hands it in.

What is relied on: the kernel escapes newline, tab, blank and = in a file's name (show_numa_map in fs/proc/task_mmu.c
calls seq_path with "\\n\\t= ").  So a blank and an N begin pages on a cell, and nothing else.
"""

from __future__ import annotations

import posix  # see agent.inspection.files
from _operator import itemgetter

from agent.inspection.files import BELOW_PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Read = Callable[[bytes], list[int]]

KEYS = ("anon", "dirty", "mapped", "swapcache", "active", "writeback")

PIECE = 1 << 16
"""Bytes that are looked at together: they and what is made of them fit into half a second-level cache."""

_SIZE = b" kernelpagesize_kB="
_WORD = itemgetter(slice(13))
"""A word from behind its N, ``0=1536 kernel``: cell, =, pages, a blank, and the beginning of what comes next.  Pages of
more than ten digits, 40 TiB in one area, are cut off; where a word has no blank, each is read on its own, uncut."""
_LETTERS = _SIZE.translate(None, b" =")
_NUMBERS = bytes(c if c in b"0123456789 " else ord("," if c in b"=N" else "x") for c in range(256))
"""Words joined by N become numbers between commas, and what no kernel writes there becomes none."""


def read_pieces(path: str) -> Iterator[bytes]:
    """A file's whole lines, some at a time; OSError when it cannot be read."""
    page = posix.sysconf("SC_PAGE_SIZE")
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        size, length = PIECE, 0
        parts: list[bytes | memoryview] = []
        while data := posix.read(fd, size):
            if len(data) <= page:
                size = BELOW_PAGE
            length += len(data)
            if length >= PIECE and (end := data.rfind(b"\n") + 1):
                yield b"".join([*parts, memoryview(data)[:end]])
                parts, length = [data[end:]], len(data) - end
            else:
                parts.append(data)
        yield b"".join(parts)
    finally:
        posix.close(fd)


def cut_pieces(data: bytes) -> Iterator[bytes]:
    """The whole lines of a file that has been read, some at a time."""
    start = 0
    while len(data) - start > PIECE:
        end = data.rfind(b"\n", start, start + PIECE) + 1 or data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end
    yield data[start:]


def sum_areas(
    pieces: Iterable[bytes], *, keys: Sequence[str] = (), read: Read | None = None
) -> tuple[dict[tuple[int, int], int], dict[str, int], int]:
    """(host cell, page size in KiB) → pages, which is what ``numastat -p`` tells; each of ``keys`` in KiB; and mapmax.

    mapmax is the largest, by how many processes a page is mapped; it is looked for with keys only.  ``read`` makes a
    list of decimal numbers between commas.  ValueError when a number is none.
    """
    if keys:
        from re import findall  # takes longer to import than most files to sum

    pages: dict[tuple[int, int], int] = {}
    kib = dict.fromkeys(keys, 0)
    mapmax = 0
    for piece in pieces:
        for size, part, words in _split_by_page_size(piece):
            for cell, count in _read_words(words, read) or map(_read_word, part.split(b" N")[1:]):
                pages[cell, size] = pages.get((cell, size), 0) + count
            for key in keys:
                if numbers := findall(b" %s=([0-9]+)" % key.encode(), part) if b" %s=" % key.encode() in part else ():
                    kib[key] += size * sum(read(b",".join(numbers)) if read else map(int, numbers))
            if keys:
                mapmax = max(mapmax, *map(int, findall(b" mapmax=([0-9]+)", part)), 0)
    return pages, kib, mapmax


def _read_words(words: list[bytes], read: Read | None) -> list[tuple[int, int]]:
    """(cell, pages) of what stands behind each N, together; nothing when one is too long or as no kernel writes it."""
    text = b"N".join(map(_WORD, words)).translate(_NUMBERS, _LETTERS)
    try:
        if not read:  # int is slow: where all have the first one's cell, that is read once
            cell, _, rest = text.partition(b",")
            pages = rest.split(b" ,%s," % cell)
            if len(pages) == len(words) and text.endswith(b" "):
                return [(int(cell), sum(map(int, pages)))]
        if not words or text.count(b" ") != len(words):
            return []
        numbers: list[Any] = read(text) if read else text.split(b",")
        if len(numbers) != 2 * len(words):
            return []
        cells, counts = numbers[::2], numbers[1::2] if read else [*map(int, numbers[1::2])]
        if cells.count(cells[0]) == len(cells):
            return [(int(cells[0]), sum(counts))]
        by_cell = dict.fromkeys(cells, 0)
        for one, count in zip(cells, counts, strict=True):
            by_cell[one] += count
        return [(int(one), total) for one, total in by_cell.items()]
    except ValueError:
        return []


def _read_word(word: bytes) -> tuple[int, int]:
    """(cell, pages) of what stands behind a blank and an N."""
    cell, _, count = word.partition(b" ")[0].partition(b"=")
    if not cell.isdigit() or not count.isdigit():
        raise ValueError(f"N{word[:40].decode('ascii', 'replace')}")
    return int(cell), int(count)


def _split_by_page_size(piece: bytes) -> list[tuple[int, bytes, list[bytes]]]:
    """(page size in KiB, its lines, what stands behind each of their N unless one is in a file's name).

    Mostly there is one size, and then no line is looked at.  Areas without pages have none; each other has a size and
    one N or more.  So all have the same size if it is there as often as an N, or as often as any size.
    """
    at = piece.find(_SIZE) + len(_SIZE)
    if at < len(_SIZE):
        return []
    size = piece[at : piece.find(b"\n", at)]
    words = piece.split(b"N")
    del words[0]  # it comes before the first N
    sized = piece.count(b"kB=%s\n" % size)
    if size.isdigit() and (sized == len(words) or sized == piece.count(b"kB=")):
        return [(int(size), piece, words if sized == len(words) or piece.count(b" N") == len(words) else [])]
    lines: dict[bytes, list[bytes]] = {}
    for line in piece.split(b"\n"):
        _, found, rest = line.rpartition(_SIZE)
        if found:
            lines.setdefault(rest.partition(b" ")[0], []).append(line)
    return [(int(size), b"\n".join(some), []) for size, some in lines.items()]
