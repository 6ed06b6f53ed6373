"""The memory of one live process by host cell and page size, without reading anything else of it.

Nothing is imported that the interpreter has not: who asks for a few numbers waits for them.
"""

from __future__ import annotations

from errno import EACCES, ENOENT, EPERM

from agent.core.errors import BadInput, CellwrightError
from agent.inspection.files import Root
from agent.inspection.numa_sums import read_pieces, sum_areas

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.inspection.numa_sums import Read


class ProcessPages:
    """``pages`` by (host cell, page size in KiB); ``kib`` of each key that was asked for, and then ``mapmax``, too."""

    def __init__(
        self, pid: int, name: str, pages: dict[tuple[int, int], int], kib: dict[str, int], mapmax: int
    ) -> None:
        self.pid, self.name, self.pages, self.kib, self.mapmax = pid, name, pages, kib, mapmax


def read_process_pages(pid: int, *, keys: Sequence[str] = (), read: Read | None = None) -> ProcessPages:
    """A process's pages; ``keys`` and ``read`` as for sum_areas.

    BadInput when there is no such process; CellwrightError when this user may not look at it, or the kernel has no
    cells.
    """
    name = Root().line(f"proc/{pid}/comm")
    if name is None:
        raise BadInput(f"there is no process {pid}")
    try:
        pages, kib, mapmax = sum_areas(read_pieces(f"/proc/{pid}/numa_maps"), keys=keys, read=read)
    except ValueError as why:
        raise CellwrightError(f"numa_maps of process {pid}: not the numbers of a kernel: {why}") from why
    except OSError as why:
        if why.errno in (EACCES, EPERM):
            raise CellwrightError(f"process {pid} ({name}): its numa_maps may be read by its user or root") from why
        if why.errno == ENOENT and Root().names(f"proc/{pid}"):
            raise CellwrightError("this kernel has no numa_maps (CONFIG_NUMA is off)") from why
        raise BadInput(f"process {pid} ({name}) ended while it was read") from why
    return ProcessPages(pid, name, pages, kib, mapmax)
