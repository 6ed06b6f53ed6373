"""``<cputune>`` beside its pins: weight and bandwidth, how threads are scheduled, parts of caches."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core import codec
from agent.core.cpuset import CpuSet
from agent.core.placement import REALTIME, BandwidthShare, CacheShare, CpuTune, Schedule, Schedules
from agent.domain.document import Element
from agent.domain.scalars import parse_count, parse_cpus, parse_memory_kib


def parse_tune(root: Element, source: str) -> CpuTune:
    """Shares, period and quota; None for what the domain does not say."""
    texts = {tag: root.findtext(f"cputune/{tag}") for tag in ("shares", "period", "quota")}
    return CpuTune(*(None if text is None else _signed(text, f"{source}: <{tag}>") for tag, text in texts.items()))


def parse_schedules(root: Element, vcpus: int, iothreads: Iterable[int], source: str) -> tuple[CpuSet, Schedules]:
    """The vCPUs under fifo or rr, and how every thread that has an element is scheduled."""
    by_vcpu = _by_number(root, "vcpusched", "vcpus", CpuSet(range(vcpus)), source)
    by_iothread = _by_number(root, "iothreadsched", "iothreads", CpuSet(iothreads), source)
    emulator = [_schedule(node, source) for node in root.iterfind("cputune/emulatorsched")]
    realtime = CpuSet(vcpu for vcpu, schedule in by_vcpu.items() if schedule.priority)
    other = {vcpu: schedule for vcpu, schedule in by_vcpu.items() if schedule != REALTIME}
    return realtime, Schedules(other, by_iothread, next(iter(emulator), None))


def _by_number(root: Element, tag: str, threads: str, everyone: CpuSet, source: str) -> dict[int, Schedule]:
    """The schedule of each vCPU or I/O thread that the guest has; an element without numbers means all of them."""
    found: dict[int, Schedule] = {}
    for node in root.iterfind(f"cputune/{tag}"):
        schedule, listed = _schedule(node, source), node.get(threads)
        numbers = everyone if listed is None else parse_cpus(listed, f"{source}: <{tag}>") & everyone
        if schedule is not None:
            found |= dict.fromkeys(numbers, schedule)
    return dict(sorted(found.items()))


def _schedule(node: Element, source: str) -> Schedule | None:
    kind = node.get("scheduler")
    if kind not in ("fifo", "rr", "batch", "idle"):
        return None
    text = node.get("priority", "0") if kind in ("fifo", "rr") else "0"
    priority = parse_count(text, f"{source}: <{node.tag}>", most=99)
    return codec.convert({"scheduler": kind, "priority": priority}, Schedule, source=source)


def parse_cache_shares(root: Element, source: str) -> tuple[CacheShare, ...]:
    """The parts of caches that some vCPUs have for themselves."""
    return tuple(
        codec.convert(
            {
                "vcpus": str(parse_cpus(part.get("vcpus"), f"{source}: <cachetune>")),
                "cache": parse_count(cache.get("id"), f"{source}: <cache>"),
                "size_kib": parse_memory_kib(cache.get("size"), cache.get("unit"), f"{source}: <cache>"),
                "level": parse_count(cache.get("level"), f"{source}: <cache>"),
                "type": cache.get("type", "both"),
            },
            CacheShare,
            source=f"{source}: <cache>",
        )
        for part in root.iterfind("cputune/cachetune")
        for cache in part.iterfind("cache")
    )


def parse_bandwidth_shares(root: Element, source: str) -> tuple[BandwidthShare, ...]:
    """The parts of the memory bandwidth that some vCPUs may use at most."""
    return tuple(
        BandwidthShare(
            parse_cpus(part.get("vcpus"), f"{source}: <memorytune>"),
            parse_count(node.get("id"), f"{source}: <memorytune>"),
            parse_count(node.get("bandwidth"), f"{source}: <memorytune>"),
        )
        for part in root.iterfind("cputune/memorytune")
        for node in part.iterfind("node")
    )


def _signed(text: str, where: str) -> int:
    """``<quota>`` is -1 for "no limit"."""
    body = text.strip()
    return -parse_count(body[1:], where) if body.startswith("-") else parse_count(body, where)
