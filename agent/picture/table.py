"""The host as a text table of at most 80 columns: a few lines of facts, a row a cell, the distances."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, Device, HostTopology
from agent.core.units import format_kib
from agent.picture.devices import gather_devices

WIDTH = 80


def render_table(host: HostTopology) -> str:
    """What the host is, then each cell with CPUs, cores, memory, page pools and last-level caches, then distances."""
    lines = [*_head(host), ""]
    for cell in host.cells:
        lines += [*_cell(cell, host), ""]
    if len(host.cells) > 1:
        lines += [*_distances(host), ""]
    if host.unplaced_devices:
        lines += [*_field("cell unknown", _devices(host.unplaced_devices)), ""]
    for phrase in host.unknown:
        lines += _field("unknown", phrase)
    return "\n".join(lines).rstrip("\n") + "\n"


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
        ("online", host.online),
        ("offline", host.offline or None),
        ("isolated", host.isolated or None),
        ("nohz_full", host.nohz_full or None),
        ("allowed", None if host.allowed == host.online else host.allowed),
        ("dedicated", host.dedicated_set),
        ("shared", host.shared_set),
        ("in no cell", CpuSet(cpu for core in host.outside_cells for cpu in core.cpus) or None),
    ]
    for name, cpus in sets:
        if cpus is not None:
            lines += _field(name, str(cpus) or "none")
    return lines


def _cell(cell: Cell, host: HostTopology) -> list[str]:
    lines = [f"cell {cell.id}"]
    lines += _field("  pCPUs", f"{cell.cpus} ({len(cell.cpus)})" if cell.cpus else "none")
    if cell.cores:
        sockets = sorted({core.socket for core in cell.cores if core.socket is not None})
        where = f" on {'socket' if len(sockets) == 1 else 'sockets'} {CpuSet(sockets)}" if sockets else ""
        kinds = [f"{sum(core.kind == kind for core in cell.cores)} {kind}" for kind in _kinds(cell)]
        lines += _field("  cores", str(len(cell.cores)) + where + (f" ({', '.join(kinds)})" if kinds else ""))
    if cell.memory_kib is None:
        lines += _field("  memory", "unknown")
    else:
        free = "" if cell.free_kib is None else f", {format_kib(cell.free_kib)} free"
        lines += _field("  memory", (format_kib(cell.memory_kib) + free) if cell.memory_kib else "none")
    for pool in cell.pages:
        free = "" if pool.free is None else f", {pool.free} free"
        lines += _field(f"  {format_kib(pool.size_kib)}", f"{pool.total} pages{free}" if pool.total else "none")
    levels = {cache.level for cache in cell.caches}
    last = [cache for cache in cell.caches if cache.level == max(levels)]
    for cache in last:
        size = "size unknown" if cache.size_kib is None else format_kib(cache.size_kib)
        lines += _field(f"  L{cache.level}", f"{size} for {cache.cpus}")
    if cell.devices:
        lines += _field("  devices", _devices(cell.devices))
    return lines


def _devices(devices: Sequence[Device]) -> str:
    return ", ".join(words if kind == "other" else f"{words} ({kind})" for kind, words, _ in gather_devices(devices))


def _kinds(cell: Cell) -> list[str]:
    return sorted({core.kind for core in cell.cores if core.kind}, reverse=True)


def _distances(host: HostTopology) -> list[str]:
    """The matrix where it fits the width; where it does not, a line a cell with the cells of each distance."""
    ids = [cell.id for cell in host.cells]
    if not all(cell.distances for cell in host.cells):
        return ["distances unknown"]
    width = max(3, *(len(str(one)) for one in ids))
    if 11 + len(ids) * (width + 1) <= WIDTH:
        lines = ["distances  " + "".join(f" {one:>{width}}" for one in ids)]
        for cell in host.cells:
            row = "".join(f" {cell.distances.get(one, '-'):>{width}}" for one in ids)
            lines.append(f"  cell {cell.id:<4}" + row)
        return lines
    lines = ["distances"]
    for cell in host.cells:
        by_distance: dict[int, list[int]] = {}
        for other, distance in cell.distances.items():
            if other != cell.id:
                by_distance.setdefault(distance, []).append(other)
        shown = "; ".join(f"{distance} to {CpuSet(others)}" for distance, others in sorted(by_distance.items()))
        lines += _field(f"  cell {cell.id}", shown)
    return lines


def _field(name: str, value: str) -> list[str]:
    """``name`` and its value, broken at commas and blanks to stay within the width."""
    indent = " " * 13
    chunks = wrap(value.replace(",", ", ").replace(",  ", ", "), WIDTH - len(indent)) if len(value) > 67 else [value]
    return [f"{name:<13}{chunks[0]}", *(indent + chunk for chunk in chunks[1:])]


def _count(number: int | None, what: str) -> str | None:
    if number is None:
        return None
    return f"{number} {what}" + ("" if number == 1 else "s")
