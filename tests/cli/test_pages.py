"""``pages``: a process's memory by cell and page size, on both lanes, beside a plain sum over the same file."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.cli.quick import run_quick_pages
from agent.core.units import format_kib
from agent.inspection.process_pages import ProcessPages
from agent.picture.pages import render_pages
from tests.cli.test_topology_quick import HEAVY, ROOT

HOLDS = """
import mmap, sys
held = mmap.mmap(-1, 8 << 20)
held.write(b"x" * len(held))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stopped() -> Iterator[int]:
    """A process that holds 8 MiB and does nothing, so that nothing of it changes."""
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        yield process.pid
        process.kill()


def plain_sum(pid: int, key: str) -> int:
    """KiB, added up line by line."""
    total = 0
    for line in Path(f"/proc/{pid}/numa_maps").read_text().splitlines():
        size = re.search(r"kernelpagesize_kB=(\d+)", line)
        total += sum(int(size[1]) * int(count) for count in re.findall(rf" {key}=(\d+)", line)) if size else 0
    return total


def test_the_sums_are_those_of_the_kernel(stopped: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pages", str(stopped), "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["pid"] == stopped
    assert sum(one["pages"] * one["page_kib"] for one in told["cells"]) == plain_sum(stopped, r"N\d+")
    for key in ("anon", "dirty", "mapped", "active"):
        assert told[f"{key}_kib"] == plain_sum(stopped, key)
    assert told["dirty_kib"] >= 8192


@pytest.mark.parametrize("options", [[], ["--keys"]])
def test_both_lanes_say_the_same(stopped: int, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_quick_pages([str(stopped), *options]) == 0
    quick = capsys.readouterr().out
    assert main(["pages", *options, "--form", "table", str(stopped), str(stopped)]) == 0, "goes to argparse"
    assert capsys.readouterr().out == quick
    assert quick.splitlines()[2].endswith(format_kib(plain_sum(stopped, r"N\d+")))
    assert ("dirty" in quick) == bool(options)


def test_the_quick_lane_imports_next_to_nothing(stopped: int) -> None:
    code = f"import sys; from agent.cli.main import main; main(['pages', '{stopped}']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-SPc", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    modules = done.stdout.decode().splitlines()[-1].split()
    assert "agent.inspection.numa_sums" in modules, done.stderr
    assert HEAVY & set(modules) == set()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["4194305"], 2, "there is no process 4194305"),
        (["nobody"], 5, "nonsense:///"),  # a guest's name: libvirt is asked
        (["4194305", "nobody"], 5, "nonsense:///"),
        (["1" * 5000], 5, "nonsense:///"),  # no process has such a number
    ],
)
def test_what_cannot_be_told(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pages", *words, "--connect", "nonsense:///"]) == code
    assert said in capsys.readouterr().err


def test_the_table() -> None:
    pages = {(0, 4): 1000, (0, 2048): 512, (1, 4): 24}
    assert render_pages(ProcessPages(42, "qemu", pages, {"anon": 2048, "dirty": 0}, 3)) == (
        "process 42 (qemu)\n"
        "                   cell 0     cell 1        all\n"
        "  4 KiB pages     3.9 MiB     96 KiB      4 MiB\n"
        "  2 MiB pages       1 GiB          -      1 GiB\n"
        "  all             1.0 GiB     96 KiB    1.0 GiB\n"
        "  anon 2 MiB, dirty 0 KiB, mapmax 3\n"
    )
    assert render_pages(ProcessPages(2, "kthreadd", {}, {}, 0)) == "process 2 (kthreadd): no pages\n"
    wide = render_pages(ProcessPages(1, "many", {(cell, 4): 1 for cell in range(8)}, {}, 0))
    assert [len(line) for line in wide.splitlines()] == [16, 69, 69, 58, 58]
