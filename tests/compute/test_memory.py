"""What taking a move of pages back does, as people read it."""

import pytest

from agent.compute.memory import describe_memory
from agent.compute.move_pages import MemoryState, PageRun
from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup


def run(cell: int, *, home: int, mib: int) -> PageRun:
    return PageRun(0x7F0000000000 + (mib << 20), mib * 256, 4, cell, home)


def cgroup(cells: str) -> Cgroup:
    return Cgroup("/machine.slice/emulator", 2, None, None, CpuSet.parse(cells))


KEPT = "stay where they belong: they were on cell 1, which its cgroups do not allow"


@pytest.mark.parametrize(
    ("runs", "cells", "nodeset", "lines"),
    [
        ([run(1, home=0, mib=64)], "0-1", None, ["64 MiB: cell 0 -> 1"]),
        ([run(1, home=0, mib=64)], "0", None, [f"64 MiB of its memory {KEPT}"]),
        ([run(1, home=0, mib=64)], "0", "1", ["64 MiB: cell 0 -> 1"]),
        ([run(1, home=0, mib=64)], "1", "0", [f"64 MiB of its memory {KEPT}"]),
        (
            [run(1, home=0, mib=1), run(2, home=0, mib=2), run(1, home=0, mib=3), run(2, home=3, mib=4)],
            "0,2-3",
            None,
            ["2 MiB: cell 0 -> 2", "4 MiB: cell 3 -> 2", f"4 MiB of its memory {KEPT}"],
        ),
        ([], "0", None, []),
    ],
)
def test_each_way_back_is_a_line_and_so_is_what_stays(
    runs: list[PageRun], cells: str, nodeset: str | None, lines: list[str]
) -> None:
    before = MemoryState(
        1, tuple(runs), cgroups=(cgroup(cells),), nodeset=None if nodeset is None else CpuSet.parse(nodeset)
    )
    assert describe_memory(before) == lines
