"""Agents' reports into one scheduler over loopback HTTP: part of schedule.py.

The times are the driver's, from a report's first byte to its answer's last: they hold as long as the driver, which
plays all agents in one thread, has CPU to spare ("driver %" far below 100) and nothing else runs on the machine.  How
late the driver itself was with a report tells ("late ms", its p99); it collects no garbage, which would stop it for a
second at a time.  "CPU %", "ms CPU" a report and "MiB" are the scheduler's.  10,000 agents hold 20,000 connections:
with a hard limit of 20,000 open files, 9,500 of them poll.  It takes half a minute more than ``--seconds``, most of it
to begin.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from agent.core.codec import encode
from agent.core.wire import HostReport
from agent.scheduler.store import hosts
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.records import HostRecord

EVERY_S = 10.0
SPARE_FILES = 500
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def report_load(url: str, folder: Path, records: list[HostRecord], *, seconds: float) -> None:
    """Every host's agent reports once in 10 s on a connection that it keeps, polls on another, and has nothing new."""
    records = [replace(record, agent=True, digest=record.name, model="") for record in records]
    engine = open_database(url)
    with transaction(engine) as connection:
        for record in records:
            hosts.save_host(connection, record)
    engine.dispose()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "agent", "scheduler", "--listen", f"127.0.0.1:{port}", "--database", url]
    with (folder / "scheduler.log").open("wb") as log:
        service = subprocess.Popen([*command, "--insecure-loopback"], stdout=log, stderr=log)
    try:
        _wait_for(port, service)
        print(f"\n{len(records)} agents report every {EVERY_S:.0f} s")
        print(
            f"{'':>15} {'a second':>9} {'failed':>7} {'CPU %':>6} {'ms CPU':>7} {'MiB':>6} {'driver %':>9}"
            f" {'late ms':>8} {'p50 ms':>8} {'p99 ms':>8} {'worst ms':>9}"
        )
        agents = [_Agent(port, _request(record), _poll(record)) for record in records]
        before, driver, began = _cpu_s(service.pid), time.process_time(), time.perf_counter()

        def tell(what: str, spent: list[float], late: list[float], failed: int) -> None:
            nonlocal before, driver, began
            wall, cpu = time.perf_counter() - began, _cpu_s(service.pid) - before
            spent.sort()
            late.sort()
            print(
                f"{what:>15} {len(spent) / wall:>9.0f} {failed:>7} {cpu / wall * 100:>6.0f}"
                f" {cpu / len(spent) * 1e3:>7.2f} {_memory_mib(service.pid):>6.0f}"
                f" {(time.process_time() - driver) / wall * 100:>9.0f}"
                f" {late[len(late) * 99 // 100] * 1e3:>8.1f}"
                f" {spent[len(spent) // 2] * 1e3:>8.1f} {spent[len(spent) * 99 // 100] * 1e3:>8.1f}"
                f" {spent[-1] * 1e3:>9.1f}",
                flush=True,
            )
            before, driver, began = _cpu_s(service.pid), time.process_time(), time.perf_counter()

        gc.disable()
        asyncio.run(_drive(agents, {"first reports": EVERY_S, "nothing is new": seconds}, tell))
    finally:
        service.terminate()
        service.wait(30)


def _request(record: HostRecord) -> bytes:
    report = HostReport(
        hostname=record.name,
        agent="bench",
        digest=record.digest,
        facts=record.facts,
        foreign=record.foreign,
        foreign_vcpus=record.foreign_vcpus,
        foreign_ram_mb=record.foreign_ram_mb,
    )
    body = encode(report)
    head = (
        f"POST /v1/agents/{record.name}/report HTTP/1.1\r\nHost: bench\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _poll(record: HostRecord) -> bytes:
    path = f"/v1/agents/{record.name}/assignments?after=0&wait_s=30"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


class _Agent:
    """One agent's two connections, which it keeps: for reports, and for the long poll that waits for work."""

    def __init__(self, port: int, request: bytes, poll: bytes) -> None:
        self.port = port
        self.request = request
        self.poll = poll
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def report(self) -> bool:
        """Whether the report was taken."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        return await _ask(*self.streams, self.request)

    async def wait(self) -> None:
        """Poll, and poll again."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while await _ask(reader, writer, self.poll):
            pass


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return head.startswith(b"HTTP/1.1 200")


async def _drive(
    agents: list[_Agent], phases: dict[str, float], tell: Callable[[str, list[float], list[float], int], None]
) -> None:
    """Every agent reports once in 10 s, evenly spread, and polls.

    ``tell`` has each phase's seconds, those that the driver was late, and failures.
    """
    loop, polls = asyncio.get_running_loop(), set()
    most_polls = min(len(agents), resource.getrlimit(resource.RLIMIT_NOFILE)[1] - len(agents) - SPARE_FILES)
    if most_polls < len(agents):
        print(f"{most_polls} of the agents poll, too: more are beyond the hard limit of open files (ulimit -Hn)")
    for what, seconds in phases.items():
        spent: list[float] = []
        late: list[float] = []
        failed = 0

        async def one(agent: _Agent, times: list[float]) -> None:
            nonlocal failed
            started = loop.time()
            try:
                taken = await agent.report()
            except (OSError, asyncio.IncompleteReadError):
                taken = False
            if taken:
                times.append(loop.time() - started)
            else:
                failed += 1

        began, gap, waiting = loop.time(), EVERY_S / len(agents), set()
        for number in range(int(seconds / gap)):
            due = began + number * gap
            await asyncio.sleep(due - loop.time())
            late.append(loop.time() - due)
            agent = agents[number % len(agents)]
            if len(polls) < most_polls:
                polls.add(loop.create_task(agent.wait()))
            task = loop.create_task(one(agent, spent))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
        tell(what, spent, late, failed)
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


def _wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if service.poll() is not None:
                raise SystemExit(f"the scheduler ended with {service.returncode}") from None
            time.sleep(0.1)
    raise SystemExit("the scheduler does not answer")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
