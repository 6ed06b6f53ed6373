"""Boxes that know their size: small drawings set in rows, columns and grids, framed, and turned into SVG text.

A Block has a least size, and draws itself at the origin into any size at or above it, so that neighbours in a grid come
out equally large.  All numbers are whole pixels: the same host gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

Draw = Callable[[int, int], str]

FRAME_PAD = 8
LABEL_HEIGHT = 20


class Block(NamedTuple):
    """A drawing: its least width and height in pixels, and how it draws itself into a given size."""

    width: int
    height: int
    draw: Draw


def escape(text: str) -> str:
    """Text for XML content and attribute values; characters that XML forbids become U+FFFD."""
    return (
        "".join(map(_allowed, text))
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
    )


def _allowed(char: str) -> str:
    bad = char < " " or "\ud800" <= char <= "\udfff" or char in "\ufffe\uffff"
    return "\ufffd" if bad else char


def text_width(text: str, size: int) -> int:
    """About how wide a text comes out in a sans-serif face."""
    return round(len(text) * size * 0.63)


def text(words: str, *, size: int = 12, style: str = "t") -> Block:
    """One line of text."""
    line = f'<text class="{style}" x="0" y="{size}" font-size="{size}">{escape(words)}</text>'
    return Block(text_width(words, size), round(size * 1.5), lambda _w, _h: line)


def grid(blocks: Sequence[Block], columns: int, *, gap: int = 6, stretch: bool = False) -> Block:
    """Blocks in rows of ``columns``; a column is as wide as its widest block, a row as high as its highest.

    With ``stretch`` the last column and row take what the grid is given beyond its least size.
    """
    rows = [blocks[at : at + columns] for at in range(0, len(blocks), columns)]
    widths = [
        max((row[at].width for row in rows if at < len(row)), default=0) for at in range(min(columns, len(blocks)))
    ]
    heights = [max(block.height for block in row) for row in rows]

    least_width = sum(widths) + gap * max(len(widths) - 1, 0)
    least_height = sum(heights) + gap * max(len(heights) - 1, 0)

    def draw(full_width: int, full_height: int) -> str:
        parts = []
        y = 0
        for row, row_height in enumerate(heights):
            x = 0
            more_height = full_height - least_height if stretch and row == len(heights) - 1 else 0
            for col, block in enumerate(rows[row]):
                more_width = full_width - least_width if stretch and col == len(widths) - 1 else 0
                parts.append(at(x, y, block.draw(widths[col] + more_width, row_height + more_height)))
                x += widths[col] + gap
            y += row_height + gap
        return "".join(parts)

    return Block(least_width, least_height, draw)


def arrange(blocks: Sequence[Block], aspect: float, *, gap: int = 6, stretch: bool = False) -> Block:
    """The grid whose width over height comes closest to ``aspect``; places left empty count against it."""
    if not blocks:
        return Block(0, 0, lambda _w, _h: "")

    def key(columns: int) -> tuple[float, int]:
        made = grid(blocks, columns, gap=gap)
        empty = -len(blocks) % columns / len(blocks)
        return abs(log(made.width / made.height / aspect)) + 3 * empty, -columns

    return grid(blocks, min(range(1, len(blocks) + 1), key=key), gap=gap, stretch=stretch)


def column(blocks: Sequence[Block], *, gap: int = 6) -> Block:
    """Blocks below each other, each as wide as the widest."""
    return grid([block for block in blocks if block.height], 1, gap=gap)


def flow(blocks: Sequence[Block], width: int, *, gap: int = 6) -> Block:
    """Blocks like words in lines of at most ``width``."""
    lines: list[list[Block]] = []
    used = 0
    for block in blocks:
        if not lines or used + gap + block.width > width:
            lines.append([block])
            used = block.width
        else:
            lines[-1].append(block)
            used += gap + block.width
    return column([grid(line, len(line), gap=gap) for line in lines], gap=gap)


def frame(content: Block, label: str, style: str, *, detail: str = "") -> Block:
    """A rounded box around ``content`` with a label in its upper left corner and a fainter detail after it."""
    head = LABEL_HEIGHT if label else FRAME_PAD - 3
    label_width = text_width(label, 12) + text_width(detail, 11) + 8 if label else 0

    def draw(width: int, height: int) -> str:
        words = ""
        if label:
            more = f'<tspan class="d" font-size="11" dx="6">{escape(detail)}</tspan>' if detail else ""
            words = f'<text class="b" x="{FRAME_PAD}" y="15" font-size="12">{escape(label)}{more}</text>'
        box = f'<rect class="{style}" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="4"/>'
        inside = content.draw(width - 2 * FRAME_PAD, height - head - FRAME_PAD)
        return box + words + at(FRAME_PAD, head, inside)

    least = max(content.width, label_width) + 2 * FRAME_PAD
    return Block(least, content.height + head + FRAME_PAD, draw)


def at(x: int, y: int, drawing: str) -> str:
    """The drawing moved to (x, y)."""
    if not drawing or (x == 0 and y == 0):
        return drawing
    return f'<g transform="translate({x},{y})">{drawing}</g>'
