"""A whole /proc/PID/numa_maps in sums, fast: equal words are counted, or all are read as one list of numbers.

See ``agent.inspection.numa_maps`` for the file.  It is taken in pieces that stay in the processor's cache, and so do
the words that are counted, so that a large file is summed as fast as a small one, beside busy neighbours too, and none
need be held whole.  Only what the interpreter has built in is imported, so that a program which sums pages by cell is
done when others are still importing.  Who has a faster reader of numbers than int hands it in; then the words of areas
that are on one cell each need no counting.
"""

from __future__ import annotations

import posix  # see agent.inspection.files
from _collections import _count_elements  # type: ignore[import-not-found]  # Counter's own; collections takes 3 ms
from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Read = Callable[[bytes], list[int]]

KEYS = ("anon", "dirty", "mapped", "swapcache", "active", "writeback")

PIECE = 1 << 16
"""Bytes that are looked at together: they and what is made of them fit into half a second-level cache."""
MOST_WORDS = 4096
"""Different words that are counted before they are added up: they fit into the other half."""
BELOW_PAGE = 3900
"""Bytes to ask a kernel file for.  It answers a page at most, and an area that no longer fits is walked once more, its
page tables included; less than a page is answered as soon as there is that much (seq_read_iter in fs/seq_file.c)."""

_SIZE = b" kernelpagesize_kB="
_WIDTH = 21
_WORD = itemgetter(slice(_WIDTH))
"""A word from behind its N: cell, =, pages, a blank, 20 characters at most with 1024 cells of a 57-bit address space.
Behind few digits the beginning of what comes next is in it too, but never an address."""
_NEXT = frozenset(_SIZE[1:end] for end in range(1, len(_SIZE) + 1))
"""What comes next after the blank: another N, at which words are cut, or as much of the page size as there is room."""
_LETTERS, _COMMA = _SIZE.translate(None, b" ="), bytes.maketrans(b"=", b",")
_BEFORE = (b"huge", b"anon=", b"dirty=", b"mapped=", b"mapmax=", b"swapcache=", b"active=", b"writeback=")
"""Words between a file and the N of an area (show_numa_map): what is followed by one of them is a file's name."""


def read_pieces(path: str) -> Iterator[bytes]:
    """A file's whole lines, some at a time; OSError when it cannot be read."""
    page = posix.sysconf("SC_PAGE_SIZE")
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        size, length, parts = PIECE, 0, []
        while data := posix.read(fd, size):
            if len(data) <= page:
                size = BELOW_PAGE
            parts.append(data)
            length += len(data)
            if length >= PIECE:
                joined = b"".join(parts)
                end = joined.rfind(b"\n") + 1
                yield joined[:end]
                parts, length = [joined[end:]], len(joined) - end
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

    counts: dict[int, dict[bytes, int]] = {}
    pages: dict[tuple[int, int], int] = {}
    kib = dict.fromkeys(keys, 0)
    mapmax = 0
    for piece in pieces:
        cut = piece.split(b"N")
        for size, part, single in _split_by_page_size(piece, most=len(cut) - 1):
            words = cut if part is piece else part.split(b"N")
            del words[0]  # it comes before the first N
            if read and single and (sums := _read_words(words, read)):
                _add_pages(pages, size, sums)
            else:
                counted = counts.setdefault(size, {})
                _count_elements(counted, map(_WORD, words))
                if len(counted) > MOST_WORDS:
                    _add_pages(pages, size, _sum_words(counts.pop(size)))
            for key in keys:
                if numbers := findall(b" %s=([0-9]+)" % key.encode(), part) if b" %s=" % key.encode() in part else ():
                    kib[key] += size * sum(read(b",".join(numbers)) if read else map(int, numbers))
            if keys:
                mapmax = max(mapmax, *map(int, findall(b" mapmax=([0-9]+)", part)), 0)
    for size, counted in counts.items():
        _add_pages(pages, size, _sum_words(counted))
    return pages, kib, mapmax


def _add_pages(pages: dict[tuple[int, int], int], size: int, sums: dict[int, int]) -> None:
    for cell, total in sums.items():
        pages[cell, size] = pages.get((cell, size), 0) + total


def _read_words(words: list[bytes], read: Read) -> dict[int, int] | None:
    """Cell → pages of words that are none of a file's name; None when they are not as kernels write them today."""
    try:
        numbers = read(b",".join(map(_WORD, words)).translate(_COMMA, _LETTERS))
    except ValueError:
        return None
    if len(numbers) != 2 * len(words):
        return None
    cells, pages = numbers[::2], numbers[1::2]
    if cells.count(cells[0]) == len(cells):
        return {cells[0]: sum(pages)}
    by_cell: dict[int, int] = {}
    for cell, count in zip(cells, pages, strict=True):
        by_cell[cell] = by_cell.get(cell, 0) + count
    return by_cell


def _sum_words(words: dict[bytes, int]) -> dict[int, int]:
    """Cell → pages of all words, each of which is as often there as its count says, without those of files' names."""
    by_cell: dict[bytes, int] = {}
    for word, times in words.items():
        text, blank, after = word.partition(b" ")
        plain = after in _NEXT if after else blank and len(word) < _WIDTH
        if plain or not _is_in_name(text, after):
            cell, _, number = text.partition(b"=")
            by_cell[cell] = by_cell.get(cell, 0) + int(number) * times
    return {int(cell): total for cell, total in by_cell.items()}


def _is_in_name(text: bytes, after: bytes) -> bool:
    """Whether the N stands in a file's name, and then perhaps digits and = as well."""
    return b"\n" in text or any(after.startswith(word) or word.startswith(after) for word in _BEFORE)


def _split_by_page_size(piece: bytes, *, most: int) -> list[tuple[int, bytes, bool]]:
    """(page size in KiB, its lines, whether each area is on a single cell and no N is in a file's name).

    Mostly there is one size, and then nothing is split.  Areas without pages have none.  ``most`` is how many areas can
    have pages: as many as there are N, since each has a cell.  If it is as many, each has one N and nobody else has.
    """
    at = piece.find(_SIZE)
    if at < 0:
        return []
    word = piece[at : piece.find(b"\n", at) + 1]
    size = word[len(_SIZE) : -1]
    if size.isdigit() and ((sized := piece.count(word)) == most or sized == piece.count(_SIZE)):
        return [(int(size), piece, sized == most)]
    lines: dict[bytes, list[bytes]] = {}
    for line in piece.split(b"\n"):
        _, found, rest = line.rpartition(_SIZE)
        if found:
            lines.setdefault(rest.partition(b" ")[0], []).append(line)
    return [(int(size), b"\n".join(some), False) for size, some in lines.items()]
