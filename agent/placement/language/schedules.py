"""``cw:vcpu_sched``, ``cw:iothread_sched``, ``cw:emulator_sched``: how the kernel schedules the guest's threads.

The words are libvirt's (https://libvirt.org/formatdomain.html#cpu-tuning): ``fifo:N`` and ``rr:N`` with a priority,
``batch`` and ``idle`` without one.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.guest import IoThreads
from agent.core.placement import REALTIME, Schedule, Schedules
from agent.placement.language.specs import Specs

HIGHEST_PRIORITY = 99
REAL_TIME_WORDS = f"fifo:N or rr:N with N from 1 to {HIGHEST_PRIORITY}"


def parse_schedules(specs: Specs, *, realtime: CpuSet, iothreads: IoThreads) -> Schedules:
    """What was asked for; real-time vCPUs alone may have a class of their own, and I/O threads that exist."""
    vcpus = _schedule(specs, "cw:vcpu_sched", only_real_time=True)
    if vcpus is not None and not realtime:
        raise BadRequest("cw:vcpu_sched", specs.flavor["cw:vcpu_sched"], "needs hw:cpu_realtime=yes")
    io = _schedule(specs, "cw:iothread_sched")
    if io is not None and not iothreads.count:
        raise BadRequest("cw:iothread_sched", specs.flavor["cw:iothread_sched"], "needs cw:iothreads")
    return Schedules(
        vcpus={} if vcpus in (None, REALTIME) else dict.fromkeys(realtime, vcpus),
        iothreads={} if io is None else dict.fromkeys(range(1, iothreads.count + 1), io),
        emulator=_schedule(specs, "cw:emulator_sched"),
    )


def _schedule(specs: Specs, key: str, *, only_real_time: bool = False) -> Schedule | None:
    text = specs.flavor.get(key)
    if not text:
        return None
    kind, colon, priority = text.partition(":")
    if not colon and not only_real_time:
        if kind == "batch":
            return Schedule("batch")
        if kind == "idle":
            return Schedule("idle")
    if priority.isascii() and priority.isdigit() and len(priority) < 3 and 0 < int(priority) <= HIGHEST_PRIORITY:
        if kind == "fifo":
            return Schedule("fifo", int(priority))
        if kind == "rr":
            return Schedule("rr", int(priority))
    allowed = REAL_TIME_WORDS if only_real_time else f"{REAL_TIME_WORDS}, batch, idle"
    raise BadRequest(key, text, "is no scheduling class", allowed=allowed)
