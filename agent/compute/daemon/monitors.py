"""What ``compute_monitors`` adds to reports: the host's load under Nova's names, for the Metrics filter and weigher.

Source: nova.compute.monitors.cpu.virt_driver.  Times are nanoseconds since the boot.
"""

from __future__ import annotations

from agent.inspection.load import CpuTimes, read_frequency_mhz, read_times

NS = 1_000_000_000


class CpuMonitor:
    """Tells percents of the time between two readings; at the first one, of all time since the boot."""

    def __init__(self) -> None:
        self._before = CpuTimes(0.0, 0.0, 0.0, 0.0)

    def read(self) -> dict[str, float]:
        """The metrics of now, by name."""
        now, before = read_times(), self._before
        self._before = now
        metrics = {f"cpu.{name}.time": round(value * NS) for name, value in now._asdict().items()}
        metrics |= render_percents(before, now)
        frequency_mhz = read_frequency_mhz()
        if frequency_mhz is not None:
            metrics["cpu.frequency"] = round(frequency_mhz)
        return {name: float(value) for name, value in sorted(metrics.items())}


def render_percents(before: CpuTimes, now: CpuTimes) -> dict[str, int]:
    """``cpu.user.percent`` and the like, and ``cpu.percent``, all that is not idle; none when no time has passed."""
    spent = {name: max(later - sooner, 0.0) for name, later, sooner in zip(now._fields, now, before, strict=True)}
    total = sum(spent.values())
    if total == 0:
        return {}
    percents = {f"cpu.{name}.percent": int(100 * value / total) for name, value in spent.items()}
    return percents | {"cpu.percent": int(100 * (total - spent["idle"]) / total)}
