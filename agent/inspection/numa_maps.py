"""/proc/PID/numa_maps: which pages of a process are on which cell.

One line an area: ``7f1a1fe00000 bind:0 anon=1536 dirty=1536 active=0 N0=1536 kernelpagesize_kB=4``
(Documentation/filesystems/proc.rst; show_numa_map in fs/proc/task_mmu.c).  Reading the file makes the kernel walk the
page tables of the whole process with its mmap lock held for reading, so that its own mmap calls wait: some 10 ms for
every GiB of 4 KiB pages, well under 1 ms with huge pages, transparent ones included.  Transparent huge pages count as
base pages.  Perl scripts that sum the file add page sizes and mapmax too; here mapmax is the largest, and every page
counts with its own size.
"""

from __future__ import annotations

import re
from collections import Counter

from agent.core.errors import BadInput
from agent.core.observation import Area, CellPages, PageSums
from agent.inspection.files import Root

_TOKEN = re.compile(rb" ([a-zN][a-z0-9]*=[0-9]+)")
_PAGE_SIZE = re.compile(rb" kernelpagesize_kB=([0-9]+)")
_POLICY = re.compile(rb"([0-9a-f]+) (prefer \(many\)[^ ]*|weighted interleave[^ ]*|[^ ]+)(.*)")


def read_numa_maps(root: Root, pid: int) -> bytes | None:
    """The whole file; None without permission, when the process is gone, or on a kernel without NUMA."""
    return root.read(f"proc/{pid}/numa_maps")


def sum_numa_maps(data: bytes) -> PageSums:
    """The whole file in sums, fast: equal words are counted together before any is read as a number."""
    sizes = {int(size) for size in set(_PAGE_SIZE.findall(data))}
    if len(sizes) == 1:
        return _sums({sizes.pop(): data})
    lines_by_size: dict[int, bytes] = {}
    lines = data.splitlines()
    for size in sizes:
        end = b" kernelpagesize_kB=%d" % size
        lines_by_size[size] = b"\n".join([line for line in lines if line.endswith(end)])
    return _sums(lines_by_size)


def _sums(data_by_size: dict[int, bytes]) -> PageSums:
    pages: Counter[tuple[int, int]] = Counter()
    kib: Counter[str] = Counter()
    mapmax = 0
    for size, data in data_by_size.items():
        for token, times in Counter(_TOKEN.findall(data)).items():
            key, _, digits = token.partition(b"=")
            if key == b"mapmax":
                mapmax = max(mapmax, int(digits))
            elif key.startswith(b"N"):
                pages[int(key[1:]), size] += int(digits) * times
            else:
                kib[key.decode("utf-8", "replace")] += int(digits) * times * size
    return PageSums(
        cells=tuple(CellPages(cell, size, count) for (cell, size), count in sorted(pages.items())),
        anon_kib=kib["anon"],
        dirty_kib=kib["dirty"],
        mapped_kib=kib["mapped"],
        swapcache_kib=kib["swapcache"],
        active_kib=kib["active"],
        writeback_kib=kib["writeback"],
        mapmax=mapmax,
    )


def parse_numa_maps(data: bytes) -> tuple[Area, ...]:
    """Every area, line by line; BadInput names the line that is none."""
    return tuple(_area(line, number) for number, line in enumerate(data.splitlines(), 1) if line)


def _area(line: bytes, number: int) -> Area:
    found = _POLICY.fullmatch(line)
    if found is None:
        raise BadInput(f"numa_maps line {number}: {line[:60]!r}; expected an address, a policy, and key=value words")
    address, policy, rest = found.groups()
    what, huge = "anonymous", False
    counts: dict[bytes, int] = {}
    for word in rest.split():
        key, equals, value = word.partition(b"=")
        if key == b"file":
            what = _unescape(value)
        elif key in (b"heap", b"stack"):
            what = key.decode("utf-8", "replace")
        elif key == b"huge":
            huge = True
        elif equals and value.isdigit():
            counts[key] = int(value)
    return Area(
        address=int(address, 16),
        policy=policy.decode("ascii", "replace"),
        what=what,
        huge=huge,
        page_kib=counts.get(b"kernelpagesize_kB"),
        pages={int(key[1:]): value for key, value in counts.items() if key.startswith(b"N") and key[1:].isdigit()},
        anon=counts.get(b"anon", 0),
        dirty=counts.get(b"dirty", 0),
        mapped=counts.get(b"mapped", 0),
        mapmax=counts.get(b"mapmax", 0),
        swapcache=counts.get(b"swapcache", 0),
        active=counts.get(b"active", 0),
        writeback=counts.get(b"writeback", 0),
    )


def _unescape(path: bytes) -> str:
    """A path as seq_path writes it: ``\\040`` is a blank."""
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 255]), path).decode("utf-8", "replace")
