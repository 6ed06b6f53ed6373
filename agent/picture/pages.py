"""Where a process's memory is, as a table: a row a page size, a column a host cell."""

from __future__ import annotations

from agent.core.units import format_kib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class ProcessPages(Protocol):
        """A process's ``pages`` by (host cell, page size in KiB), and KiB of what they are, if that was read."""

        pid: int
        name: str
        pages: dict[tuple[int, int], int]
        kib: dict[str, int]
        mapmax: int


ACROSS = 5
"""So many cells stand side by side on 80 columns, and all of them beside the last."""


def render_pages(process: ProcessPages) -> str:
    """The pages of one process; with what they are, where that was read."""
    cells = sorted({cell for cell, _ in process.pages})
    sizes = sorted({size for _, size in process.pages})
    rows = [(f"{format_kib(size)} pages", [size]) for size in sizes]
    rows = [*rows, ("all", sizes)] if len(sizes) != 1 else rows
    lines = [f"process {process.pid} ({process.name})" + ("" if cells else ": no pages")]
    for at in range(0, len(cells), ACROSS):
        shown = cells[at : at + ACROSS]
        last = at + ACROSS >= len(cells)
        lines.append(f"{'':<14}" + "".join(f"{f'cell {cell}':>11}" for cell in shown) + f"{'all':>11}" * last)
        for what, of in rows:
            held = [_kib(process, of, [cell]) for cell in shown] + [_kib(process, of, cells)] * last
            lines.append(f"  {what:<12}" + "".join(f"{format_kib(kib) if kib else '-':>11}" for kib in held))
    if process.kib and cells:
        told = ", ".join(f"{key} {format_kib(kib)}" for key, kib in process.kib.items())
        lines.append(f"  {told}, mapmax {process.mapmax}")
    return "\n".join(lines) + "\n"


def _kib(process: ProcessPages, sizes: list[int], cells: list[int]) -> int:
    return sum(process.pages.get((cell, size), 0) * size for size in sizes for cell in cells)
