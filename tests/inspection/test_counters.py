"""NUMA counters and load, against numastat(8) and /proc/stat of this host."""

import subprocess
from pathlib import Path

import pytest

from agent.core.errors import BadInput
from agent.inspection.counters import COUNTERS, parse_numastat, read_numastat
from agent.inspection.files import Root
from agent.inspection.load import read_load
from agent.picture.counters import LOAD_HEADS, render_load, render_numastat
from tests.inspection.trees import NODE, write

TEXT = "numa_hit 5\nnuma_miss 1\nnuma_foreign 2\ninterleave_hit 3\nlocal_node 4\nother_node 0\nnew_counter x\n"


def test_the_view_is_that_of_numastat_line_for_line() -> None:
    """Counters only grow: the peer's are between ours before and ours after."""

    def ours() -> list[str]:
        return render_numastat(read_numastat(Root("/"))).splitlines()

    before = ours()
    peer = subprocess.run(["numastat"], capture_output=True, text=True, check=True).stdout.splitlines()
    after = ours()
    assert [len(line) for line in before] == [len(line) for line in peer]
    for early, line, late in zip(map(str.split, before), map(str.split, peer), map(str.split, after), strict=True):
        assert early[0] == line[0]
        if line[0] in COUNTERS:
            for least, count, most in zip(early[1:], line[1:], late[1:], strict=True):
                assert int(least) <= int(count) <= int(most), line[0]
        else:
            assert early == line


def test_cells_beyond_four_go_to_further_blocks(tmp_path: Path) -> None:
    root = Root(str(write(tmp_path, {f"{NODE}/node{cell}/numastat": TEXT for cell in (0, 2, 10, 11, 12)})))
    shown = render_numastat(read_numastat(root))
    assert [line.split() for line in shown.splitlines() if line.startswith("  ")] == [
        ["node0", "node2", "node10", "node11"],
        ["node12"],
    ]
    assert max(map(len, shown.splitlines())) == 80
    assert render_numastat(read_numastat(Root(str(tmp_path / "none")))) == ""


def test_a_text_without_a_counter_is_refused() -> None:
    assert parse_numastat(TEXT)["numa_hit"] == 5
    with pytest.raises(BadInput, match="no numa_miss; allowed: the lines numa_hit"):
        parse_numastat("numa_hit 5\n")
    assert set(parse_numastat(TEXT)) == set(COUNTERS)


def test_load_of_every_online_pcpu_adds_up() -> None:
    loads = read_load(0.05)
    named = [line.split()[0] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")]
    assert ["cpu" if cpu is None else f"cpu{cpu}" for cpu in loads] == named
    assert all(0 <= share <= 100 for load in loads.values() for share in load)
    heads, everything, *rows = render_load(loads).splitlines()
    assert heads.split() == ["CPU", *LOAD_HEADS]
    assert everything.startswith("all ")
    assert len(rows) == len(loads) - 1
