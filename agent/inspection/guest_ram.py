"""Which areas of a QEMU process are guest RAM, and of which guest cell.

The QEMU command line names every block of RAM (``-object memory-backend-ram,id=ram-node0,size=…,host-nodes=…``) and
the guest cell it belongs to (``-numa node,nodeid=0,memdev=ram-node0``).  /proc/PID/maps has the areas with their
lengths.  A block and its areas are brought together by the strongest sign there is, and the answer says by which:

- ``file``: the area maps a file that carries the block's name (file and huge-page backends of libvirt): certain;
- ``size and policy``: one area, or some neighbouring ones, have exactly the block's length, and numa_maps shows the
  memory policy that was asked for it: as good as certain;
- ``size``: the length alone; right unless another mapping of QEMU happens to have the very same length;
- ``order``: several blocks are alike; QEMU's allocations grow downwards, so the first block has the highest address.
  A sum over these blocks is right, which of them is which is a guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.observation import Area, CellPages, GuestRam, RamBackend
from agent.inspection.values import is_number

_MAPS = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (....) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d{1,19}) *(.*)")


class Mapping(msgspec.Struct, frozen=True):
    """One line of /proc/PID/maps: addresses in bytes, permissions, and the file, which is empty when there is none."""

    start: int
    end: int
    permissions: str
    inode: int
    path: str

    @property
    def kib(self) -> int:
        """How long it is."""
        return (self.end - self.start) >> 10


def parse_maps(data: bytes) -> tuple[Mapping, ...]:
    """/proc/PID/maps, line by line (proc(5)); BadInput names the line that is none."""
    mappings = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else (), 1):
        found = _MAPS.fullmatch(line)
        if found is None:
            raise BadInput(f"maps line {number}: {line[:60]!r}; expected addresses, permissions, offset, device, inode")
        start, end, permissions, inode, path = found.groups()
        mappings.append(
            Mapping(
                int(start, 16),
                int(end, 16),
                permissions.decode("utf-8", "replace"),
                int(inode),
                path.decode("utf-8", "replace"),
            )
        )
    return tuple(mappings)


def parse_ram(command_line: bytes) -> tuple[RamBackend, ...]:
    """Every RAM block of a QEMU command line (NUL between its words), in its order.

    Both forms of options are read, ``key=value,…`` and the JSON of newer libvirt.  A guest without memory backends has
    one block, ``pc.ram``, of the size that ``-m`` gives.
    """
    words = command_line.rstrip(b"\0").decode("utf-8", "replace").split("\0")
    options = [(name.lstrip("-"), value) for name, value in pairwise(words) if name.startswith("-")]
    cells: dict[str, int] = {}
    for name, value in options:
        if name in ("numa", "device"):
            fields = _fields(value)
            cell = fields.get("nodeid") if name == "numa" else fields.get("node")
            if "memdev" in fields and is_number(str(cell)):
                cells[str(fields["memdev"])] = int(str(cell))
    blocks = [_backend(_fields(value), cells) for name, value in options if name == "object"]
    found = tuple(block for block in blocks if block is not None)
    if found:
        return found
    sizes = [_fields(value) for name, value in options if name == "m"]
    size_kib = _size_kib(str(sizes[-1].get("size", sizes[-1].get("", ""))), unit_kib=1024) if sizes else None
    return (RamBackend(id="pc.ram", size_kib=size_kib),) if size_kib else ()


def match_ram(
    backends: Sequence[RamBackend], mappings: Sequence[Mapping], areas: Iterable[Area]
) -> tuple[GuestRam, ...]:
    """Each block of RAM with the areas that are it, and their pages; see above for how sure that is."""
    area_at = {area.address: area for area in areas}
    taken: set[int] = set()
    found: dict[str, tuple[str, list[Mapping]]] = {}
    for backend in backends:
        by_name = [mapping for mapping in mappings if _carries_name(mapping.path, backend)]
        if by_name:
            found[backend.id] = ("file", by_name)
            taken.update(mapping.start for mapping in by_name)
    for sign in ("size and policy", "size"):
        wanted: dict[tuple[int, str | None], list[RamBackend]] = {}
        for backend in backends:
            if backend.id not in found:
                policy = _policy_text(backend) if sign == "size and policy" else None
                wanted.setdefault((backend.size_kib, policy), []).append(backend)
        for (size_kib, policy), alike in wanted.items():
            fitting = [
                run
                for run in _runs(mappings, size_kib)
                if taken.isdisjoint(mapping.start for mapping in run)
                and (policy is None or {area_at[m.start].policy for m in run if m.start in area_at} == {policy})
            ]
            if len(fitting) != len(alike):
                continue
            fitting.sort(key=lambda run: run[0].start, reverse=True)
            for backend, run in zip(alike, fitting, strict=True):
                found[backend.id] = (sign if len(alike) == 1 else "order", run)
                taken.update(mapping.start for mapping in run)
    return tuple(_guest_ram(backend, found.get(backend.id), area_at) for backend in backends)


def _guest_ram(backend: RamBackend, match: tuple[str, list[Mapping]] | None, area_at: dict[int, Area]) -> GuestRam:
    if match is None:
        return GuestRam(backend=backend)
    sign, mappings = match
    areas = [area_at[mapping.start] for mapping in mappings if mapping.start in area_at]
    return GuestRam(
        backend=backend,
        identified_by=sign,
        addresses=tuple(mapping.start for mapping in mappings),
        pages=add_pages(areas),
        policies=tuple(sorted({area.policy for area in areas})),
    )


def add_pages(areas: Iterable[Area]) -> tuple[CellPages, ...]:
    """The resident pages of several areas by host cell and page size."""
    pages: Counter[tuple[int, int]] = Counter()
    for area in areas:
        for cell, count in area.pages.items():
            pages[cell, area.page_kib or 0] += count
    return tuple(CellPages(cell, size, count) for (cell, size), count in sorted(pages.items()))


def _runs(mappings: Sequence[Mapping], size_kib: int) -> list[list[Mapping]]:
    """Neighbouring readable and writable mappings of one file, or of none, that are ``size_kib`` long together.

    The kernel splits one block into several mappings, and puts a thread's stack or heap right beside a block.
    """
    writable = [mapping for mapping in sorted(mappings, key=lambda one: one.start) if mapping.permissions[:2] == "rw"]
    runs = []
    for first in range(len(writable)):
        run: list[Mapping] = []
        kib = 0
        for mapping in writable[first:]:
            if run and (run[-1].end, run[-1].inode, run[-1].path) != (mapping.start, mapping.inode, mapping.path):
                break
            run.append(mapping)
            kib += mapping.kib
            if kib >= size_kib:
                break
        if kib == size_kib:
            runs.append(run)
    return runs


def _carries_name(path: str, backend: RamBackend) -> bool:
    """Whether a mapped file is a block's own: libvirt's ``…/ram-node0``, QEMU's ``qemu_back_mem.…``."""
    file = path.removesuffix(" (deleted)")
    if file and file == backend.path:
        return True
    name = file.rpartition("/")[2]
    stem = name.removeprefix("qemu_back_mem.").removeprefix("_objects_")
    return bool(name) and (name == backend.id or (stem != name and stem.rpartition(".")[0] == backend.id))


def _policy_text(backend: RamBackend) -> str:
    """The policy of the block's areas as numa_maps writes it."""
    kernel_names = {"bind": "bind", "preferred": "prefer", "interleave": "interleave"}
    name = kernel_names.get(backend.policy or "")
    return f"{name}:{backend.host_cells}" if name and backend.host_cells else "default"


def _backend(fields: dict[str, Any], cells: dict[str, int]) -> RamBackend | None:
    kind = str(fields.get("qom-type", fields.get("", "")))
    size_kib = _size_kib(str(fields.get("size", "")), unit_kib=0)
    if not kind.startswith("memory-backend-") or not size_kib:
        return None
    name = str(fields.get("id", ""))
    nodes = fields.get("host-nodes", [])
    text = ",".join(str(node) for node in (nodes if isinstance(nodes, list) else [nodes]))
    return RamBackend(
        id=name,
        size_kib=size_kib,
        guest_cell=cells.get(name),
        policy=fields.get("policy"),
        host_cells=CpuSet.parse(text),
        path=fields.get("mem-path"),
    )


def _fields(value: str) -> dict[str, Any]:
    """One option's fields; the key "" has a leading word without ``=``; a key that repeats becomes a list."""
    if value.startswith("{"):
        try:
            read = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {}
        return read if isinstance(read, dict) else {}
    fields: dict[str, Any] = {}
    for word in re.split(r"(?<!,),(?!,)", value):
        key, equals, text = word.replace(",,", ",").partition("=")
        if not equals:
            key, text = "", key
        if key in fields:
            before = fields[key]
            fields[key] = [*(before if isinstance(before, list) else [before]), text]
        else:
            fields[key] = text
    return fields


def _size_kib(text: str, *, unit_kib: int) -> int | None:
    """KiB of a QEMU size: ``65536k``, ``1G``; a bare number is MiB after ``-m`` (``unit_kib`` 1024), else bytes."""
    digits = text.rstrip("bBkKmMgGtT")
    if not is_number(digits):
        return None
    suffix = text[len(digits) :][:1].upper()
    if not suffix:
        return int(digits) * unit_kib if unit_kib else int(digits) >> 10
    shift = {"B": -10, "K": 0, "M": 10, "G": 20, "T": 30}[suffix]
    return int(digits) << shift if shift >= 0 else int(digits) >> -shift
