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

import msgspec

from agent.core.errors import BadInput
from agent.core.observation import Area, CellPages, PageSums
from agent.inspection.files import Root
from agent.inspection.numa_sums import KEYS, cut_pieces, sum_areas

_LIST = msgspec.json.Decoder(list[int])
_LINE = re.compile(
    rb"^([0-9a-f]+) (prefer \(many\)[^ \n]*|weighted interleave[^ \n]*|[^ \n]+)(?: (file=[^ \n]*|heap|stack))?"
    rb"( huge)?(?: [a-z]+=[0-9]+)*((?: N[0-9]{1,9}=[0-9]{1,19})*)(?: kernelpagesize_kB=([0-9]{1,19}))?$",
    re.MULTILINE,
)
"""A line in the order of show_numa_map: address, policy, what, huge, pages by cell, page size."""
_POLICY = re.compile(rb"([0-9a-f]+) (prefer \(many\)[^ ]*|weighted interleave[^ ]*|[^ ]+)(.*)")


def read_numa_maps(root: Root, pid: int) -> bytes | None:
    """The whole file; None without permission, when the process is gone, or on a kernel without NUMA."""
    return root.read(f"proc/{pid}/numa_maps")


def sum_numa_maps(data: bytes) -> PageSums:
    """The whole file in sums; BadInput when a number in it is none."""
    try:
        pages, kib, mapmax = sum_areas(cut_pieces(data), keys=KEYS, read=read_numbers)
    except ValueError as why:
        raise BadInput(f"numa_maps: not the numbers of a kernel: {why}") from why
    cells = tuple(CellPages(*key, count) for key, count in sorted(pages.items()))
    return PageSums(cells=cells, mapmax=mapmax, **{f"{key}_kib": total for key, total in kib.items()})


def read_numbers(text: bytes) -> list[int]:
    """Decimal numbers between commas; JSON's decoder is ten times as fast as int.  ValueError when one is none."""
    try:
        return _LIST.decode(b"[%s]" % text)
    except msgspec.DecodeError as why:
        raise ValueError(str(why)) from why


def parse_numa_maps(data: bytes) -> tuple[Area, ...]:
    """Every area; BadInput names the line that is none.  Lines as kernels write them are read in one search."""
    found = _LINE.findall(data)
    if len(found) != len(lines := data.removesuffix(b"\n").split(b"\n")):  # words of no kernel of today, or damage
        return tuple(_area(line, number) for number, line in enumerate(lines, 1) if line)
    names: dict[bytes, str] = {b"": "anonymous"}
    policies: dict[bytes, str] = {}
    areas = []
    for address, policy, what, huge, cells, page_kib in found:
        name = names.get(what)
        if name is None:
            name = names[what] = _unescape(what.removeprefix(b"file="))
        mode = policies.get(policy)
        if mode is None:
            mode = policies[policy] = policy.decode("ascii", "replace")
        pages = {}
        for word in cells.split():
            cell, _, count = word.partition(b"=")
            pages[int(cell[1:])] = int(count)
        areas.append(
            Area(
                address=int(address, 16),
                policy=mode,
                what=name,
                huge=huge != b"",
                page_kib=int(page_kib) if page_kib else None,
                pages=pages,
            )
        )
    return tuple(areas)


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
        elif equals and value.isdigit() and max(len(key), len(value)) < 20:
            counts[key] = int(value)
    return Area(
        address=int(address, 16),
        policy=policy.decode("ascii", "replace"),
        what=what,
        huge=huge,
        page_kib=counts.get(b"kernelpagesize_kB"),
        pages={int(key[1:]): count for key, count in counts.items() if key[:1] == b"N" and key[1:].isdigit()},
    )


def _unescape(path: bytes) -> str:
    """A path as seq_path writes it: ``\\040`` is a blank."""
    if b"\\" not in path:
        return path.decode("utf-8", "replace")
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 255]), path).decode("utf-8", "replace")
