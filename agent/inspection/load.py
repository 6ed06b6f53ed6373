"""How busy each pCPU of this host is, measured over an interval through psutil."""

from __future__ import annotations

from typing import NamedTuple

import psutil


class Load(NamedTuple):
    """Shares of time in percent, with mpstat's names; ``user`` and ``nice`` are without guests' time."""

    user: float
    nice: float
    system: float
    iowait: float
    irq: float
    softirq: float
    steal: float
    guest: float
    guest_nice: float
    idle: float


def read_load(interval_s: float = 1.0) -> dict[int | None, Load]:
    """The load of each pCPU over ``interval_s`` seconds; None stands for all of them together.

    psutil leaves offline pCPUs out and counts the others through, so they are numbered by /proc/stat's own order.
    """
    numbers = _numbers()
    per_cpu = psutil.cpu_times_percent(interval=interval_s, percpu=True)
    loads = [_load(times) for times in per_cpu]
    total = Load(*(sum(column) / len(loads) for column in zip(*loads, strict=True)))
    return {None: total, **dict(zip(numbers, loads, strict=False))}


class CpuTimes(NamedTuple):
    """What all pCPUs together did since the boot, in seconds; ``user`` has guests and nice processes too."""

    user: float
    kernel: float
    idle: float
    iowait: float


def read_times() -> CpuTimes:
    """The times of now; interrupts count as the kernel's."""
    times = psutil.cpu_times()
    kernel = times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    return CpuTimes(times.user + getattr(times, "nice", 0.0), kernel, times.idle, getattr(times, "iowait", 0.0))


def read_frequency_mhz() -> float | None:
    """The mean frequency of the pCPUs, where the kernel tells."""
    found = psutil.cpu_freq()
    return None if found is None or not found.current else float(found.current)


def _load(times: object) -> Load:
    def share(name: str) -> float:
        return float(getattr(times, name, 0.0))

    guest, guest_nice = share("guest"), share("guest_nice")
    return Load(
        user=max(share("user") - guest, 0.0),
        nice=max(share("nice") - guest_nice, 0.0),
        **{name: share(name) for name in Load._fields if name not in ("user", "nice")},
    )


def _numbers() -> list[int]:
    with open("/proc/stat", encoding="ascii") as file:  # noqa: PTH123  # a kernel file
        heads = [line.partition(" ")[0] for line in file]
    return [int(head[3:]) for head in heads if head.startswith("cpu") and head != "cpu"]
