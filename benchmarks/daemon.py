"""What the agent costs at rest, and what it adds to a guest's start, against virsh define and start alone.

    python benchmarks/daemon.py [--guests 0 20 200] [--seconds 60] [--starts 3]

(It cannot be called agent.py: a file of that name would hide the package from every benchmark of this folder.)

A scheduler and an agent run on loopback; guests at rest are paused TCG guests of 16 MiB, 27 MiB each with QEMU, which
are added to those of the line before.  CPU time is that of the agent's process over the seconds, as an hour's: a minute
has one reading of the whole topology.  Pages are read every five minutes, first half a minute after the start; that is
waited for, and what a reading costs is added for its part of the time.  Guests that others start meanwhile are read
too.  Resident memory is at the end.  All of it takes six minutes, of which starting 200 guests is two.

The guest whose start is measured has one floating vCPU: from the request to ACTIVE (scheduler, agent, proof,
confirmation), and the same XML through virsh.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.compute.client import Client, path_of
from agent.compute.daemon.guests import GuestReader
from agent.compute.daemon.proof import Prover
from agent.compute.daemon.rounds import PAGES_FIRST_S
from agent.compute.daemon.view import digest_of, read_facts, read_topology, report_of, view_of
from agent.compute.driver import Driver
from agent.core.codec import encode
from agent.settings.agent import AgentSettings
from agent.settings.document import Settings
from tests.compute.daemon.running import AgentProcess
from tests.compute.guests import remove, tiny_xml, virsh
from tests.scheduler.conftest import Service

DEFAULTS = "report_interval_s = 10\nmasks_interval_s = 5"
FLAVOR = {"name": "bench", "vcpus": 1, "ram_mb": 64}


@contextmanager
def resting() -> Iterator[Callable[[int], None]]:
    """Calling it makes paused guests until there are so many; they are gone at the end."""
    names: list[str] = []

    def start(count: int) -> None:
        with Driver() as libvirt:
            for number in range(len(names), count):
                names.append(f"cwb-{os.getpid()}-{number}")
                libvirt.define(tiny_xml(names[-1], vcpus=2, memory_kib=16384), name=names[-1])
                libvirt.start(names[-1], paused=True)

    try:
        yield start
    finally:
        with ThreadPoolExecutor(10) as threads:  # libvirt waits a second or two for each
            list(threads.map(remove, names))


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
        agent.start(**environment())
        try:
            agent.wait_up()
            yield service, agent
        finally:
            agent.stop()
            service.stop()


def environment() -> dict[str, str]:
    """What the packaged unit gives the agent."""
    unit = Path(__file__).parents[1] / "systemd/cellwright-agent.service"
    lines = (line.partition("=") for line in unit.read_text().splitlines())
    return dict([value.split("=", 1) for key, _, value in lines if key == "Environment"])


class Rest(NamedTuple):
    """CPU seconds an hour, resident MiB, and bytes of a whole report, with so many guests."""

    guests: int
    cpu_s: float
    rss_mib: float
    report_bytes: int


def measure_rest(counts: Sequence[int], seconds: float) -> Iterator[Rest]:
    """One agent, with more and more guests."""
    with resting() as start, running() as (_service, agent), Driver() as libvirt:
        assert agent.process is not None
        process = psutil.Process(agent.process.pid)
        time.sleep(PAGES_FIRST_S)  # the start and its first readings are no rest
        for count in sorted(counts):
            start(count)
            time.sleep(8)
            before, started = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(seconds)
            used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)
            used += pages_share(Prover(libvirt).check_pages()[1], Settings().agent)
            yield Rest(count, used * 3600, process.memory_info().rss / (1 << 20), report_size(libvirt))


def pages_share(cost_s: float, settings: AgentSettings) -> float:
    """The part of one pCPU that reading pages takes, as seldom as the agent does it when it costs so much."""
    return cost_s / max(settings.pages_interval_s, cost_s / settings.pages_share)


def report_size(libvirt: Driver) -> int:
    """Bytes of a whole report of this host."""
    settings = Settings()
    host, _ = read_topology(settings)
    guests = GuestReader().read(libvirt, host, digest_of(host))
    view = view_of(host, read_facts(libvirt, settings, host), guests, settings)
    return len(encode(report_of(view, agent="a", whole=True)))


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
    parser.add_argument("--guests", type=int, nargs="*", default=[0, 20, 200])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its guests go with it
    found = []
    for rest in measure_rest(args.guests, args.seconds):
        found.append(rest)
        print(
            f"at rest, {rest.guests:3} guests: {rest.cpu_s:6.1f} CPU s an hour ({rest.cpu_s / 36:.2f} % of a pCPU),"
            f" {rest.rss_mib:.0f} MiB resident, a whole report {rest.report_bytes} bytes"
        )
    if len(found) > 1:
        each = (found[-1].cpu_s - found[0].cpu_s) / (found[-1].guests - found[0].guests)
        print(f"each guest more: {each:.3f} CPU s an hour ({each / 36:.4f} % of a pCPU)")
    ours, theirs = (statistics.median(times) * 1000 for times in measure_starts(args.starts))
    print(
        f"start: request to verified guest {ours:.0f} ms, virsh define + start {theirs:.0f} ms, {ours - theirs:+.0f} ms"
    )


if __name__ == "__main__":
    main()
