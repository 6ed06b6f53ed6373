"""NUMA counters as ``numastat`` prints them, and load as ``mpstat -P ALL`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COLUMN = 16
COLUMNS_A_BLOCK = 4
LOAD_HEADS = ("%usr", "%nice", "%sys", "%iowait", "%irq", "%soft", "%steal", "%guest", "%gnice", "%idle")


def render_numastat(counters: Mapping[int, Mapping[str, int]]) -> str:
    """Line for line what ``numastat`` prints: a column a cell, as many side by side as 80 columns hold."""
    cells = sorted(counters)
    blocks = []
    for at in range(0, len(cells), COLUMNS_A_BLOCK):
        shown = cells[at : at + COLUMNS_A_BLOCK]
        lines = [" " * COLUMN + "".join(f"{'node' + str(cell):>{COLUMN}}" for cell in shown)]
        for name in counters[shown[0]]:
            lines.append(f"{name:<{COLUMN}}" + "".join(f"{counters[cell][name]:>{COLUMN}}" for cell in shown))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def render_load(loads: Mapping[int | None, Sequence[float]]) -> str:
    """A row a pCPU and one for all, in percent of the measured time, columns as mpstat names them."""
    rows = ["CPU " + "".join(f"{head:>8}" for head in LOAD_HEADS)]
    for cpu, load in loads.items():
        rows.append(f"{'all' if cpu is None else cpu:>3} " + "".join(f"{share:>8.2f}" for share in load))
    return "\n".join(rows) + "\n"
