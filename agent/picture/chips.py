"""What stands beside the pCPUs of a picture: memory bars, devices, the distance matrix and the legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, Device
from agent.core.units import format_kib
from agent.picture.blocks import Block, column, escape, flow, grid, text, text_width
from agent.picture.devices import gather_devices
from agent.picture.threads import sample

BAR_HEIGHT = 14
MOST_NAMES = 6
_LETTERS = {"net": "net", "storage": "disk", "gpu": "gpu", "other": "pci"}


def memory_bar(cell: Cell, most_kib: int, width: int) -> Block:
    """The cell's memory, as long as its share of the largest cell's: huge pages, used and free, one part each."""
    parts: list[tuple[str, int]] = []
    lines = []
    for pool in cell.huge_pools():
        kib = pool.total * pool.size_kib
        if not kib:
            continue
        free_kib = (pool.free or 0) * pool.size_kib
        parts += [("huge", kib - free_kib), ("huge-free", free_kib)]
        free = "" if pool.free is None else f", {pool.free} free"
        lines.append(text(f"{pool.total} pages of {format_kib(pool.size_kib)}{free}", size=11, style="d"))
    if not cell.memory_kib:
        words = "no memory" if cell.memory_kib == 0 else "memory not known"
        return column([text(words, size=11, style="d"), *lines], gap=3)
    rest = max(cell.memory_kib - sum(kib for _, kib in parts), 0)
    free_kib = min(cell.free_kib or 0, rest)
    parts += [("unsure", rest)] if cell.free_kib is None else [("used", rest - free_kib), ("free", free_kib)]
    scale = width * cell.memory_kib / max(most_kib, cell.memory_kib) / cell.memory_kib
    length = max(round(cell.memory_kib * scale), 4)

    def draw(_width: int, _height: int) -> str:
        drawn, done_kib = [], 0
        for style, kib in parts:
            start, done_kib = round(done_kib * scale), done_kib + kib
            if (end := round(done_kib * scale)) > start:
                drawn.append(f'<rect class="{style}" x="{start}" y="0" width="{end - start}" height="{BAR_HEIGHT}"/>')
        edge = f'<rect class="edge" x="0.5" y="0.5" width="{length - 1}" height="{BAR_HEIGHT - 1}"/>'
        return "".join(drawn) + edge

    free = "" if cell.free_kib is None else f", {format_kib(cell.free_kib)} free"
    said = text(f"{format_kib(cell.memory_kib)}{free}", size=11)
    return column([Block(length, BAR_HEIGHT, draw), said, *lines], gap=3)


def device_chips(devices: Sequence[Device]) -> list[Block]:
    """A chip a device, or a group of them."""
    return [_chip(_LETTERS.get(kind, "pci"), words, title) for kind, words, title in gather_devices(devices)]


def _chip(kind: str, words: str, title: str) -> Block:
    head = text_width(kind, 10) + 10
    width = head + text_width(words, 11) + 10
    drawing = (
        f"<g><title>{escape(title)}</title>"
        f'<rect class="chip" x="0.5" y="0.5" width="{width - 1}" height="17" rx="8"/>'
        f'<text class="d" x="7" y="13" font-size="10">{escape(kind)}</text>'
        f'<text x="{head + 3}" y="13" font-size="11">{escape(words)}</text></g>'
    )
    return Block(width, 18, lambda _w, _h: drawing)


def distance_matrix(cells: Sequence[Cell]) -> Block:
    """Distances from each cell (row) to each (column), as the firmware tells them; 10 is a cell's own memory."""
    ids = [cell.id for cell in cells]
    rows = [[""] + [str(other) for other in ids]]
    rows += [[str(cell.id)] + [str(cell.distances.get(other, "–")) for other in ids] for cell in cells]
    own = {(number, number) for number in range(1, len(rows))}
    blocks = [
        _entry(value, head=row == 0 or col == 0, own=(row, col) in own)
        for row, values in enumerate(rows)
        for col, value in enumerate(values)
    ]
    return column([text("distances between cells", size=12, style="b"), grid(blocks, len(ids) + 1, gap=2)], gap=4)


def _entry(value: str, *, head: bool, own: bool) -> Block:
    style = "b m" if head or own else "m"
    box = "" if head else '<rect class="near" x="0.5" y="0.5" width="27" height="17"/>'
    drawing = f'{box}<text class="{style}" x="14" y="13" font-size="11">{escape(value)}</text>' if value else ""
    return Block(28, 18, lambda _w, _h: drawing)


def legend(
    cells: Sequence[Cell],
    kinds: Sequence[tuple[str, str]],
    guests: Sequence[tuple[str, str, CpuSet]],
    floating: Mapping[str, CpuSet],
    width: int,
) -> Block:
    """What the patterns, bars and letters mean: only those that occur; then where guests float."""
    rows = [text("pCPUs", size=12, style="b"), _samples(kinds, width)]
    if any(cell.memory_kib for cell in cells):
        bars = [("used", "memory used"), ("free", "free")]
        if any(cell.memory_kib and cell.free_kib is None for cell in cells):
            bars.append(("unsure", "memory, used or free: not known"))
        if any(pool.total for cell in cells for pool in cell.huge_pools()):
            bars += [("huge", "huge pages used"), ("huge-free", "huge pages free")]
        rows += [text("memory", size=12, style="b"), _samples(bars, width)]
    if guests or floating:
        rows.append(text("guests", size=12, style="b"))
    if guests:
        named = [text(f"{letter}  {name}: {cpus}", size=12) for letter, name, cpus in guests]
        rows.append(flow(named, width, gap=24))
    for cpus in sorted(set(floating.values()), key=str):
        names = sorted(name for name, where in floating.items() if where == cpus)
        shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" * (len(names) > MOST_NAMES))
        rows.append(text(f"{shown}: floating over {cpus}", size=12))
    return column(rows, gap=4)


def _samples(kinds: Sequence[tuple[str, str]], width: int) -> Block:
    return flow([grid(sample(kind, words), 2) for kind, words in kinds], width, gap=18)
