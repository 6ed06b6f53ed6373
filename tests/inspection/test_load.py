"""The load of each pCPU beside what mpstat measures in the same seconds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.inspection.load import Load, read_load

WINDOW_S = 4
TOLERANCE = 12.0
"""Percentage points: the two start some hundredths of a second apart, more on a busy machine; a tick is 0.25."""

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


@pytest.fixture
def busy_cpu() -> Iterator[int]:
    """The highest pCPU that we may use, kept busy by a nice process: no other one has as much nice time."""
    cpu = max(os.sched_getaffinity(0))
    spinner = subprocess.Popen([sys.executable, "-c", SPIN.format(cpu=cpu)])
    yield cpu
    spinner.kill()
    spinner.wait()


def test_each_pcpu_has_the_load_that_mpstat_shows(busy_cpu: int) -> None:
    command = ["mpstat", "-o", "JSON", "-P", "ALL", str(WINDOW_S), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
        ours = read_load(WINDOW_S)
        told, _ = peer.communicate()
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
