"""What the agent costs at rest, and what it adds to a guest's start, against virsh define and start alone.

    python benchmarks/daemon.py [--guests 20] [--seconds 60] [--starts 3]

A scheduler and an agent run on loopback; guests at rest are paused TCG guests of 16 MiB.  CPU time is that of the
agent's process over the seconds, as an hour's: a minute has one reading of the whole topology.  Pages are read every
five minutes, first half a minute after the start; that is waited for, and what a reading costs is added for its part of
the time.  Guests that others start meanwhile are read too.  Resident memory is at the end.

The guest whose start is measured has one floating vCPU: from the request to ACTIVE (scheduler, agent, proof,
confirmation), and the same XML through virsh.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.compute.client import Client, path_of
from agent.compute.daemon.guests import GuestReader
from agent.compute.daemon.proof import Prover
from agent.compute.daemon.service import PAGES_FIRST_S
from agent.compute.daemon.view import digest_of, read_facts, read_topology, report_of, view_of
from agent.compute.driver import Driver
from agent.core.codec import encode
from agent.settings.document import Settings
from tests.compute.daemon.running import AgentProcess
from tests.compute.guests import remove, tiny_xml, virsh
from tests.scheduler.conftest import Service

DEFAULTS = "report_interval_s = 10\nmasks_interval_s = 5"
FLAVOR = {"name": "bench", "vcpus": 1, "ram_mb": 64}


@contextmanager
def resting(count: int) -> Iterator[None]:
    """So many paused guests."""
    names = [f"cwb-{os.getpid()}-{number}" for number in range(count)]
    with Driver() as libvirt:
        for name in names:
            libvirt.define(tiny_xml(name, vcpus=2, memory_kib=16384), name=name)
            libvirt.start(name, paused=True)
    try:
        yield
    finally:
        for name in names:
            remove(name)


@contextmanager
def running(*, more: str = "") -> Iterator[tuple[Service, AgentProcess]]:
    """A scheduler and an agent that is up, with the intervals that a host has by default."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "agent").mkdir()
        service = Service(Path(folder))
        service.start()
        agent = AgentProcess(Path(folder) / "agent", service)
        text = agent.config.read_text().replace("report_interval_s = 1\nmasks_interval_s = 0.5", DEFAULTS)
        agent.config.write_text(text + more)
        agent.start()
        try:
            agent.wait_up()
            yield service, agent
        finally:
            agent.stop()
            service.stop()


def measure_rest(count: int, seconds: float) -> tuple[float, float, int]:
    """CPU seconds an hour, resident MiB, and bytes of a whole report, with so many guests."""
    with resting(count), running() as (_service, agent), Driver() as libvirt:
        assert agent.process is not None
        process = psutil.Process(agent.process.pid)
        time.sleep(PAGES_FIRST_S + 8)  # the start and its first readings are no rest
        before, started = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
        used += Prover(libvirt).check_pages()[1] / Settings().agent.pages_interval_s
        settings = Settings()
        host, _ = read_topology(settings)
        guests = GuestReader().read(libvirt, host, digest_of(host))
        view = view_of(host, read_facts(libvirt, settings, host), guests, settings)
        size = len(encode(report_of(view, agent="a", whole=True)))
        return used * 3600, process.memory_info().rss / (1 << 20), size


def measure_starts(count: int) -> tuple[list[float], list[float]]:
    """Seconds from request to ACTIVE, and of virsh define and start of the same XML."""
    ours, theirs = [], []
    with running() as (service, _agent):
        operator = Client(service.url, service.token)
        for number in range(count):
            name = f"cwb-{os.getpid()}-start-{number}"
            try:
                started = time.perf_counter()
                made = operator.call("POST", path_of("instances"), {"name": name, "flavor": FLAVOR})[0]
                while (status := operator.call("GET", path_of("instances", made["id"]))["status"]) != "ACTIVE":
                    assert status != "ERROR", made
                    time.sleep(0.01)
                ours.append(time.perf_counter() - started)
                xml = virsh("dumpxml", "--inactive", name)
                operator.call("DELETE", path_of("instances", made["id"]))
                while virsh("domid", name, check=False).strip():
                    time.sleep(0.05)
                time.sleep(0.5)
                with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
                    file.write(xml)
                    file.flush()
                    started = time.perf_counter()
                    subprocess.run(["virsh", "-q", "define", file.name], check=True)
                    subprocess.run(["virsh", "-q", "start", name], check=True)
                    theirs.append(time.perf_counter() - started)
            finally:
                remove(name)
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guests", type=int, nargs="*", default=[20])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    for count in args.guests:
        cpu_s, rss_mib, size = measure_rest(count, args.seconds)
        print(
            f"at rest, {count:3} guests: {cpu_s:6.1f} CPU s an hour ({cpu_s / 36:.2f} % of a pCPU),"
            f" {rss_mib:.0f} MiB resident, a whole report {size} bytes"
        )
    ours, theirs = (statistics.median(times) * 1000 for times in measure_starts(args.starts))
    print(
        f"start: request to verified guest {ours:.0f} ms, virsh define + start {theirs:.0f} ms, {ours - theirs:+.0f} ms"
    )


if __name__ == "__main__":
    main()
