"""Drift of a real guest, seen by a running ``cellwright watch``."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from agent.compute.domains import Domain
from agent.compute.driver import Driver
from agent.compute.uevents import KernelEvent
from agent.compute.watch import watch_host
from agent.core.errors import Unreachable
from tests.compute.guests import name_of, remove, tiny_xml, virsh

NAME = name_of("watch")
READING = Path(__file__).with_name("reading.py")
LIMIT_S = 240.0
"""What has not happened by then, on a slow machine that is busy too, does not happen."""
PINS = "<cputune><vcpupin vcpu='0' cpuset='0-1'/><emulatorpin cpuset='0-1'/></cputune>"


@pytest.fixture(scope="module")
def libvirt(libvirt_uri: str) -> Iterator[Driver]:
    with Driver(libvirt_uri) as driver:
        driver.define(tiny_xml(NAME, vcpus=1, extra=PINS), name=NAME)
        try:
            yield driver
        finally:
            remove(NAME)


def start_watch(*options: str, program: tuple[str, ...] = ("-m", "agent")) -> subprocess.Popen[str]:
    command = [sys.executable, *program, "watch", NAME, "--interval", "0.3", "--format", "json", *options]
    hears_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what a shell starts behind & does not
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c)


def listen(watch: subprocess.Popen[str]) -> Queue[dict[str, Any]]:
    """What the watch prints, as it comes."""
    events: Queue[dict[str, Any]] = Queue()

    def read() -> None:
        assert watch.stdout is not None
        for line in watch.stdout:
            events.put(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    return events


def next_event(events: Queue[dict[str, Any]], change: str) -> dict[str, Any]:
    """The next line about ``change``; other lines before it are passed over."""
    until = time.monotonic() + LIMIT_S
    while (event := events.get(timeout=max(0.01, until - time.monotonic())))["change"] != change:
        pass
    return event


def test_start_drift_clearing_and_stop_are_told_and_ctrl_c_ends_it(libvirt: Driver) -> None:
    watch = start_watch(program=(str(READING),))
    try:
        events = listen(watch)
        next_event(events, "read")
        virsh("start", NAME)
        next_event(events, "started")
        pid = libvirt.domain(NAME).pid
        subprocess.run(["taskset", "-cp", "0", str(pid)], capture_output=True, check=True)
        drift = next_event(events, "appeared")
        assert (drift["guest"], drift["finding"]["tid"], drift["finding"]["actual"]) == (NAME, pid, "0")
        assert "taskset" in drift["finding"]["cause"]
        subprocess.run(["taskset", "-cp", "0-1", str(pid)], capture_output=True, check=True)
        next_event(events, "cleared")
        virsh("destroy", NAME)
        next_event(events, "stopped")
        watch.send_signal(signal.SIGINT)
        assert watch.stderr is not None
        assert (watch.wait(LIMIT_S), watch.stderr.read()) == (4, "")
    finally:
        watch.kill()
        watch.wait()


@pytest.mark.parametrize("bound", [("--once",), ("--count", "2"), ("--duration", "0.5")])
def test_a_bounded_watch_of_a_domain_that_does_not_run_ends_by_itself(libvirt: Driver, bound: tuple[str, ...]) -> None:
    watch = start_watch(*bound)
    assert watch.communicate(timeout=LIMIT_S) == ("", "")
    assert watch.returncode == 0


def test_a_name_that_no_domain_has_is_refused(libvirt: Driver) -> None:
    watch = start_watch("--once", f"{NAME}-mistyped")
    out, said = watch.communicate(timeout=LIMIT_S)
    assert (watch.returncode, out, said.count("\n")) == (2, "", 1)
    assert f"no domain '{NAME}-mistyped'" in said


@pytest.mark.parametrize("bad", [("--interval", "0"), ("--interval", "soon"), ("--count", "-1"), ("--duration", "nan")])
def test_bounds_that_are_none_are_refused(bad: tuple[str, ...]) -> None:
    watch = start_watch(*bad)
    out, said = watch.communicate(timeout=LIMIT_S)
    assert (watch.returncode, out) == (2, "")
    assert bad[0] in said


def test_a_libvirtd_that_goes_away_is_told_once_and_waited_for() -> None:
    class Restarting(Driver):
        """Does not answer the second and third time."""

        asked = 0

        def domains(self, *, active_only: bool = True) -> tuple[Domain, ...]:
            self.asked += 1
            if self.asked in (2, 3):
                raise Unreachable("libvirt does not answer")
            return super().domains(active_only=active_only)

    with Restarting("test:///default") as libvirt:
        drifts = list(
            watch_host(libvirt, names=[], interval_s=0.01, quick=True, turns=5, clock=time.monotonic, sleep=time.sleep)
        )
    assert [(one.change, one.message) for one in drifts] == [
        ("libvirt", "libvirt does not answer"),
        ("libvirt", "libvirt answers again"),
    ]


def tell_of_a_pcpu(action: str) -> None:
    """Have the kernel send the very event that it sends when pCPU 1 really comes or goes (it stays online)."""
    Path("/sys/devices/system/cpu/cpu1/uevent").write_text(action)


def test_a_pcpu_that_went_and_came_back_between_two_readings_is_told_and_named_as_the_cause(libvirt: Driver) -> None:
    virsh("start", NAME)
    watch = start_watch("--interval", "1000", program=(str(READING),))
    try:
        events = listen(watch)
        next_event(events, "read")
        pid = libvirt.domain(NAME).pid
        subprocess.run(["taskset", "-cp", "0", str(pid)], capture_output=True, check=True)
        tell_of_a_pcpu("offline")
        tell_of_a_pcpu("online")
        assert next_event(events, "offline")["message"] == "the kernel says: pCPU 1 went offline"
        drift = next_event(events, "appeared")
        assert drift["finding"]["tid"] == pid
        assert drift["finding"]["cause"] == "pCPU 1 went offline and came back"
    finally:
        watch.kill()
        watch.wait()
        virsh("destroy", NAME)


def test_kernel_events_name_pcpus_alone() -> None:
    assert KernelEvent("cpu", "offline", "cpu12").pcpu == 12
    for event in (("cpu", "change", "cpu1"), ("memory", "online", "memory7"), ("cpu", "online", "cpufreq")):
        assert KernelEvent(*event).pcpu is None
