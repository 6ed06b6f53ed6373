"""Agents' reports into one scheduler over loopback HTTP: part of schedule.py."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from agent.core.codec import encode
from agent.core.wire import HostReport
from agent.scheduler.store import hosts
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.records import HostRecord

EVERY_S = 10.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def report_load(url: str, folder: Path, records: list[HostRecord], *, seconds: float) -> None:
    """Every host's agent reports once in 10 s, each on a connection of its own, and has nothing new to say."""
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
            f"{'':>15} {'a second':>9} {'failed':>7} {'CPU %':>6} {'ms CPU':>7} {'MiB':>6} {'p50 ms':>8} {'p99 ms':>8}"
        )
        requests = [_request(record) for record in records]
        for what, lasting_s in (("first reports", EVERY_S), ("nothing is new", seconds)):
            before, began = _cpu_s(service.pid), time.perf_counter()
            spent, failed = asyncio.run(_drive(port, requests, lasting_s))
            wall, cpu = time.perf_counter() - began, _cpu_s(service.pid) - before
            spent.sort()
            print(
                f"{what:>15} {len(spent) / wall:>9.0f} {failed:>7} {cpu / wall * 100:>6.0f}"
                f" {cpu / len(spent) * 1e3:>7.2f} {_memory_mib(service.pid):>6.0f}"
                f" {spent[len(spent) // 2] * 1e3:>8.1f} {spent[len(spent) * 99 // 100] * 1e3:>8.1f}",
                flush=True,
            )
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
        f"POST /v1/agents/{record.name}/report HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _drive(port: int, requests: list[bytes], seconds: float) -> tuple[list[float], int]:
    """Seconds of every answered report, and how many had no good answer; the starts are spread evenly."""
    loop, spent, failed = asyncio.get_running_loop(), [], 0

    async def one(request: bytes) -> None:
        nonlocal failed
        started = loop.time()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
        except OSError:
            failed += 1
            return
        if b" 200 " in answer[:20]:
            spent.append(loop.time() - started)
        else:
            failed += 1

    began, gap, waiting = loop.time(), EVERY_S / len(requests), set()
    for number in range(int(seconds / gap)):
        delay = began + number * gap - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        task = loop.create_task(one(requests[number % len(requests)]))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
    await asyncio.gather(*waiting)
    return spent, failed


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
