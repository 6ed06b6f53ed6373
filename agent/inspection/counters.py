"""The kernel's NUMA counters: where memory was wanted, and where it came from."""

from __future__ import annotations

from agent.core.errors import BadInput
from agent.inspection.cells import FOLDER as NODE
from agent.inspection.cells import parse_cell_folders
from agent.inspection.files import Root
from agent.inspection.values import parse_count

COUNTERS = {
    "numa_hit": "pages that came from the cell they were wanted from",
    "numa_miss": "pages that came from this cell because the wanted one was full",
    "numa_foreign": "pages wanted from this cell that came from another: each is a numa_miss there",
    "interleave_hit": "interleaved pages that came from the cell whose turn it was",
    "local_node": "pages given to a process running on this cell",
    "other_node": "pages given to a process running on another cell",
}
"""Each counter of a cell's ``numastat`` and what it counts (Documentation/admin-guide/numastat.rst of the kernel)."""


def read_numastat(root: Root) -> dict[int, dict[str, int]]:
    """Cell → counter → pages since boot; empty where the kernel has no NUMA."""
    cells = parse_cell_folders(root.names(NODE) or [])
    found = {cell: root.parsed(f"{NODE}/node{cell}/numastat", parse_numastat) for cell in cells}
    return {cell: counters for cell, counters in found.items() if counters is not None}


def parse_numastat(text: str) -> dict[str, int]:
    """``numa_hit 123`` a line; counters that this version does not know are left out."""
    counters = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if name in COUNTERS:
            counters[name] = parse_count(value)
    missing = [name for name in COUNTERS if name not in counters]
    if missing:
        raise BadInput(f"no {missing[0]}; allowed: the lines {', '.join(COUNTERS)}")
    return counters
