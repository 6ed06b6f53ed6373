"""The host as text of at most 80 columns: a few lines of facts, a row a cell, L3 groups, distances, devices, guests."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.core.cpulist import format_ids
from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, HostTopology, PagePool
from agent.core.units import format_kib
from agent.picture.devices import gather_devices

WIDTH = 80
HEAD = 12
LONGEST_NAME = 40
LONGEST_IDS = 16
NO_BREAK = "\u00a0"


def render_table(
    host: HostTopology, guests: Mapping[str, CpuSet] | None = None, *, floating: Mapping[str, CpuSet] | None = None
) -> str:
    """What the host is, then its cells, the groups of a last-level cache where a cell has several, and distances.

    Long sets of pCPUs are written with strides (``0-108:4``), as the kernel reads them too.  ``guests`` maps guests to
    the pCPUs they are pinned to, ``floating`` to where they run.
    """
    sections = [_head(host), _cells(host), _groups(host), _distances(host), _devices(host)]
    sections.append(_guests(host, guests or {}, floating or {}))
    if host.unknown:
        sections.append(_field("unknown", ", ".join(host.unknown)))
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def shorten(cpus: CpuSet) -> str:
    """A CPU list, with strides where that is shorter: ``0-108:4,112``."""
    plain = str(cpus)
    left, parts = list(cpus), []
    while left:
        step = left[1] - left[0] if len(left) > 1 else 1
        count = 1
        while count < len(left) and left[count] - left[count - 1] == step:
            count += 1
        if count < 3 and step != 1:
            count = 1
        first, last = left[0], left[count - 1]
        parts.append(str(first) if count == 1 else f"{first}-{last}" + ("" if step == 1 else f":{step}"))
        left = left[count:]
    strided = ",".join(parts)
    return strided if len(strided) < len(plain) else plain


def _head(host: HostTopology) -> list[str]:
    counts = [
        _count(host.sockets, "socket"),
        _count(host.dies, "die") if host.dies != host.sockets else None,
        _count(len(host.cells), "cell"),
        _count(host.cores, "core"),
        _count(len(host.online), "pCPU"),
        None if host.threads_per_core is None else f"SMT{host.threads_per_core}" if host.smt else "no SMT",
    ]
    lines = _field("host", " ".join(filter(None, [host.hostname, host.arch, host.kernel])))
    if host.cpu.model:
        lines += _field("cpu", host.cpu.model)
    lines += _field("has", ", ".join(filter(None, counts)))
    sets: list[tuple[str, CpuSet | None]] = [
        ("offline", host.offline or None),
        ("isolated", host.isolated or None),
        ("nohz_full", host.nohz_full or None),
        ("allowed", None if host.allowed == host.online else host.allowed),
        ("dedicated", host.dedicated_set),
        ("shared", host.shared_set),
        ("in no cell", CpuSet(cpu for core in host.outside_cells for cpu in core.cpus) or None),
    ]
    lines += _field("online", shorten(host.online))
    siblings = _siblings(host)
    if siblings:
        lines += _field("siblings", siblings)
    for name, cpus in sets:
        if cpus is not None:
            lines += _field(name, shorten(cpus) or "none")
    return lines


def _siblings(host: HostTopology) -> str:
    """Which threads share a core, in a formula where cores are alike: ``N, N+36 for N of 0-35``."""
    firsts: dict[tuple[int, ...], list[int]] = {}
    for core in [*(core for cell in host.cells for core in cell.cores), *host.outside_cells]:
        if len(core.cpus) > 1:
            first = core.cpus.first()
            firsts.setdefault(tuple(cpu - first for cpu in core.cpus), []).append(first)
    formulas = []
    for steps, numbers in sorted(firsts.items(), key=lambda item: min(item[1])):
        row = len(steps) > 2 and steps[-1] == len(steps) - 1
        threads = f"N to N+{steps[-1]}" if row else ", ".join(f"N+{step}" if step else "N" for step in steps)
        formulas.append(f"{threads} for N of {shorten(CpuSet(numbers))}")
    return "; ".join(formulas)


def _cells(host: HostTopology) -> list[str]:
    """A row a cell; huge pages as free of all; the pCPUs last, on as many lines as they need."""
    totals: dict[int, int] = {}
    for cell in host.cells:
        for pool in cell.huge_pools():
            totals[pool.size_kib] = totals.get(pool.size_kib, 0) + pool.total
    used = [size for size in sorted(totals) if totals[size]]
    rows = [["cell", "socket", "cores", "memory", "free", *(format_kib(size) for size in used), "pCPUs"]]
    for cell in host.cells:
        pools = {pool.size_kib: pool for pool in cell.huge_pools()}
        rows.append(
            [
                str(cell.id),
                _sockets(cell),
                _cores(cell),
                "?" if cell.memory_kib is None else format_kib(cell.memory_kib) if cell.memory_kib else "none",
                "?" if cell.free_kib is None else format_kib(cell.free_kib),
                *(_pool(pools.get(size)) for size in used),
                shorten(cell.cpus) or "none",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for row in rows:
        start = "".join(f"{text:>{width}}  " for text, width in zip(row, widths, strict=False))
        pieces = _broken(row[-1], max(20, WIDTH - indent))
        lines += [start + pieces[0], *(" " * indent + piece for piece in pieces[1:])]
    absent = [format_kib(size) for size in sorted(totals) if not totals[size]]
    if absent:
        lines.append(f"no huge pages of {' or '.join(absent)}")
    return lines


def _sockets(cell: Cell) -> str:
    """Their ids; how many they are where those are too many: some hypervisors give each vCPU a socket of any number."""
    ids = {core.socket for core in cell.cores if core.socket is not None}
    shown = format_ids(ids) or "-"
    return shown if len(shown) <= LONGEST_IDS else f"{len(ids)} sockets"


def _cores(cell: Cell) -> str:
    kinds = sorted({core.kind for core in cell.cores if core.kind}, reverse=True)
    if len(kinds) < 2:
        return str(len(cell.cores))
    return "+".join(f"{sum(core.kind == kind for core in cell.cores)}{kind[0].upper()}" for kind in kinds)


def _pool(pool: PagePool | None) -> str:
    return "-" if pool is None else f"{_shown(pool.free)}/{pool.total}"


def _groups(host: HostTopology) -> list[str]:
    """The pCPUs of each last-level cache, where some cell has more than one of them."""
    lines = []
    for cell in host.cells:
        levels = {cache.level for cache in cell.caches}
        last = [cache for cache in cell.caches if cache.level == max(levels)]
        if 1 < len(last) < len(cell.cores):
            sizes = sorted({cache.size_kib for cache in last if cache.size_kib is not None})
            shown = f" of {', '.join(map(format_kib, sizes))}" if sizes else ""
            lines.append(f"cell {cell.id}: {len(last)} L{last[0].level} groups{shown}")
            lines += ["  " + piece for piece in _broken(" | ".join(shorten(cache.cpus) for cache in last), WIDTH - 2)]
    return lines


def _distances(host: HostTopology) -> list[str]:
    """The matrix where it fits the width; where it does not, a line a cell with the cells of each distance."""
    ids = [cell.id for cell in host.cells]
    if len(ids) < 2 or not all(cell.distances for cell in host.cells):
        return []
    width = max(3, *(len(str(one)) for one in ids))
    if HEAD + len(ids) * (width + 1) <= WIDTH:
        lines = [f"{'distances':<{HEAD}}" + "".join(f" {one:>{width}}" for one in ids)]
        for cell in host.cells:
            row = "".join(f" {cell.distances.get(one, '-'):>{width}}" for one in ids)
            lines.append(f"{f'  cell {cell.id}':<{HEAD}}" + row)
        return lines
    lines = ["distances"]
    for cell in host.cells:
        by_distance: dict[int, list[int]] = {}
        for other, distance in cell.distances.items():
            if other != cell.id:
                by_distance.setdefault(distance, []).append(other)
        shown = "; ".join(
            f"{distance} to {shorten(CpuSet(others))}" for distance, others in sorted(by_distance.items())
        )
        lines += _field(f"  cell {cell.id}", shown)
    return lines


def _devices(host: HostTopology) -> list[str]:
    lines = []
    places = [*((f"cell {cell.id}", cell.devices) for cell in host.cells), ("no cell", host.unplaced_devices)]
    for place, devices in places:
        if devices:
            gathered = [(kind, words) for kind, words, _ in gather_devices(devices)]
            names = [words if words.endswith(("other", "others")) else f"{words} ({kind})" for kind, words in gathered]
            whole = ", ".join(name.replace(" ", NO_BREAK) for name in names)
            lines += [line.replace(NO_BREAK, " ") for line in _field(f"  {place}", whole)]
    return ["devices", *lines] if lines else []


def _guests(host: HostTopology, pinned: Mapping[str, CpuSet], floating: Mapping[str, CpuSet]) -> list[str]:
    """A line a pinned guest, with its pCPUs and their cells; then who floats over which pCPUs."""
    lines = []
    for name, cpus in sorted(pinned.items()):
        cells = format_ids(cell.id for cell in host.cells if cell.cpus & cpus)
        lines.append(f"{_short(name)}: pinned to {shorten(cpus)}" + (f" (cell {cells})" if len(host.cells) > 1 else ""))
    for cpus in sorted(set(floating.values()), key=str):
        names = ", ".join(sorted(_short(name) for name, where in floating.items() if where == cpus))
        lines.append(f"floating over {shorten(cpus)}: {names}")
    broken = ("\n    ".join(_broken(line, WIDTH - 4)) for line in lines)
    return ["guests", *(f"  {line}" for line in broken)] if lines else []


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _field(name: str, value: str) -> list[str]:
    """``name`` and its value, on as many lines as it needs."""
    pieces = _broken(value, WIDTH - HEAD - 1)
    return [f"{name:<{HEAD}} {pieces[0]}", *(" " * (HEAD + 1) + piece for piece in pieces[1:])]


def _broken(text: str, width: int) -> list[str]:
    """Pieces of at most ``width``, broken after commas and blanks only."""
    pieces = [""]
    for word in re.findall(r"[^, ]*[, ]*", text):
        if pieces[-1] and len(pieces[-1]) + len(word.rstrip()) > width:
            pieces.append("")
        pieces[-1] += word
    return [piece.rstrip() for piece in pieces]


def _shown(number: int | None) -> str:
    return "?" if number is None else str(number)


def _count(number: int | None, what: str) -> str | None:
    if number is None:
        return None
    return f"{number} {what}" + ("" if number == 1 else "s")
