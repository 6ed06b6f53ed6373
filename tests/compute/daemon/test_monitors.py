"""The load that reports carry when they are asked to."""

import time

from agent.compute.daemon.monitors import CpuMonitor, render_percents
from agent.inspection.load import CpuTimes

NAMES = {f"cpu.{what}.{unit}" for what in ("user", "kernel", "idle", "iowait") for unit in ("time", "percent")}


def test_percents_are_of_the_time_between() -> None:
    before = CpuTimes(user=10.0, kernel=5.0, idle=100.0, iowait=1.0)
    assert render_percents(before, before) == {}
    assert render_percents(before, CpuTimes(user=13.0, kernel=6.0, idle=105.0, iowait=2.0)) == {
        "cpu.user.percent": 30,
        "cpu.kernel.percent": 10,
        "cpu.idle.percent": 50,
        "cpu.iowait.percent": 10,
        "cpu.percent": 50,
    }


def test_a_counter_that_goes_back_counts_as_none() -> None:
    assert render_percents(CpuTimes(10.0, 0.0, 50.0, 9.0), CpuTimes(11.0, 0.0, 51.0, 8.0))["cpu.iowait.percent"] == 0


def test_this_host_has_them_all() -> None:
    monitor = CpuMonitor()
    first = monitor.read()
    assert first.keys() - {"cpu.frequency"} == NAMES | {"cpu.percent"}
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    second = monitor.read()
    assert second["cpu.user.time"] > first["cpu.user.time"]
    assert 0 < second["cpu.percent"] <= 100
