"""The load of each pCPU beside what mpstat makes of the same two readings of /proc/stat."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.inspection.load import Load, read_load

WINDOW_S = 2
TOLERANCE = 1.0
"""Percentage points: each rounds its own way, and pCPUs have a tick more or less than others."""

COLUMNS = {
    "usr": "user",
    "nice": "nice",
    "sys": "system",
    "iowait": "iowait",
    "irq": "irq",
    "soft": "softirq",
    "steal": "steal",
    "guest": "guest",
    "gnice": "guest_nice",
    "idle": "idle",
}
SPIN = "import os; os.sched_setaffinity(0, {{{cpu}}}); os.nice(1)\nwhile True: pass"
READ = re.compile(r'^read\(\d+</proc/stat>, "(.*)", \d+\) = ', re.MULTILINE)


@pytest.fixture
def busy_cpu() -> Iterator[int]:
    """The highest pCPU that we may use, kept busy by a nice process: no other one has as much nice time."""
    cpu = max(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", SPIN.format(cpu=cpu)]) as spinner:
        while os.getpriority(os.PRIO_PROCESS, spinner.pid) == os.getpriority(os.PRIO_PROCESS, 0):
            time.sleep(0.01)
        yield cpu
        spinner.kill()


def ask_mpstat(log: Path) -> tuple[str, list[str]]:
    """What it prints, and what it read of /proc/stat, each time that it opened the file."""
    trace = ["strace", "-y", "-s", "1000000", "-e", "trace=openat,read", "-o", str(log)]
    command = [*trace, "mpstat", "-o", "JSON", "-P", "ALL", str(WINDOW_S), "1"]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    texts = [READ.findall(part) for part in log.read_text().split('"/proc/stat", O_RDONLY')[1:]]
    return told, [ast.literal_eval(f'"{"".join(text)}"') for text in texts]


def test_each_pcpu_has_the_load_that_mpstat_shows(
    busy_cpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, (before, after) = ask_mpstat(tmp_path / "log")
    (tmp_path / "stat").write_text(before)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda _seconds: (tmp_path / "stat").write_text(after))
    ours = read_load(WINDOW_S)
    rows = json.loads(told)["sysstat"]["hosts"][0]["statistics"][0]["cpu-load"]
    theirs = {
        None if row["cpu"] == "all" else int(row["cpu"]): Load(**{ours: row[name] for name, ours in COLUMNS.items()})
        for row in rows
    }
    assert ours.keys() == theirs.keys()
    assert ours[busy_cpu].nice > 2 * TOLERANCE, "or the comparison below could not tell one pCPU from another"
    apart = {
        (cpu, name): abs(mine - other)
        for cpu, load in ours.items()
        for name, mine, other in zip(Load._fields, load, theirs[cpu], strict=True)
    }
    print(f"at most {max(apart.values()):.1f} points apart")
    assert {column for column, points in apart.items() if points > TOLERANCE} == set()
    for cpu, load in ours.items():
        assert sum(load) == pytest.approx(100, abs=1), cpu
