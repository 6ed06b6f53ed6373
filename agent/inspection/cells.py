"""Cells as the kernel lists them: sys/devices/system/node (kernel: Documentation/ABI/stable/sysfs-devices-node)."""

from __future__ import annotations

from agent.core.cpulist import HIGHEST_CPU
from agent.core.errors import BadInput
from agent.inspection.cpus import bits, parse_folders
from agent.inspection.files import Root, Vanished
from agent.inspection.memory import parse_meminfo
from agent.inspection.values import parse_cpu_list, parse_cpu_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "sys/devices/system/node"


class CellFacts:
    """One cell: its CPUs as a mask (offline ones possibly among them), distances by cell, total and free KiB."""

    __slots__ = ("cpus", "distances", "id", "memory")

    def __init__(
        self, id: int, cpus: int, distances: dict[str, int] | None, memory: tuple[int, int | None] | None
    ) -> None:
        self.id = id
        self.cpus = cpus
        self.distances = distances
        self.memory = memory


def read_cells(root: Root, unknown: list[str]) -> list[CellFacts]:
    """The online cells by id; none where the kernel has no NUMA.  What cannot be known is added to ``unknown``."""
    folders = parse_cell_folders(root.names(FOLDER) or [])
    online = root.parsed(f"{FOLDER}/online", parse_cpu_list) if folders else None
    ids = [cell for cell in folders if online >> cell & 1] if online else folders
    rows = {cell: root.parsed(f"{FOLDER}/node{cell}/distance", parse_distances) for cell in ids}
    columns = ids
    lengths = {len(row) for row in rows.values() if row is not None}
    if lengths - {len(ids)}:
        # the kernel writes a number for each online cell; a tree from which cells were taken has theirs too
        lists = (online, root.parsed(f"{FOLDER}/possible", parse_cpu_list))
        columns = next((list(bits(cells)) for cells in lists if cells and {cells.bit_count()} == lengths), ids)
    names = [str(cell) for cell in columns]
    kept = None if columns is ids else [str(cell) for cell in ids]
    short = [f"node{cell}: {len(row)}" for cell, row in rows.items() if row is not None and len(row) != len(columns)]
    if short:
        unknown.append(f"distances ({', '.join(short)} numbers for {len(columns)} cells)")
    elif None in rows.values():
        unknown.append("distances")
    forms: list[tuple[str, Callable[[str], int]]] = [("cpulist", parse_cpu_list), ("cpumap", parse_cpu_mask)]
    return [
        CellFacts(
            cell,
            _read_cpus(root, f"{FOLDER}/node{cell}", forms),
            None if row is None or len(row) != len(columns) else _by_cell(row, names, kept),
            root.parsed(f"{FOLDER}/node{cell}/meminfo", parse_meminfo),
        )
        for cell, row in rows.items()
    ]


def parse_cell_folders(names: list[str]) -> list[int]:
    """Cell numbers of ``nodeN`` folders, ascending."""
    return sorted(int(name[4:]) for name in names if name.startswith("node") and _is_id(name[4:]))


def parse_distances(text: str) -> list[int]:
    """A row of the distance matrix (ACPI SLIT): a number for each online cell, in the order of their ids."""
    words = text.split()
    different = set(words)  # a row of many cells has few distances
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 7 for word in different):
        raise BadInput(f"not a row of distances: {text[:60]!r}")
    numbers = {word: int(word) for word in different}
    return [numbers[word] for word in words]


def _by_cell(row: list[int], names: list[str], kept: list[str] | None) -> dict[str, int]:
    """Distances by the name of the cell, as the document has them; of the ``kept`` cells where these are not all."""
    found = dict(zip(names, row, strict=True))
    return found if kept is None else {name: found[name] for name in kept if name in found}


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7 and int(text) < HIGHEST_CPU


def _read_cpus(root: Root, folder: str, forms: list[tuple[str, Callable[[str], int]]]) -> int:
    """The cell's CPUs: a list since 2.6.26, a mask before, links ``cpuN`` where a tree was saved with neither.

    ``forms`` is turned when the first one is absent, so that the other cells are asked for the right one at once.
    """
    for name, parse in tuple(forms):
        cpus = root.parsed(f"{folder}/{name}", parse)
        if cpus is not None:
            return cpus
        forms.append(forms.pop(0))
    names = root.names(folder)
    if names is None:
        raise Vanished(root.prefix + folder)
    return parse_folders(names)
