"""``<cputune>``: weight, bandwidth, pins, schedulers, cache and memory-bandwidth shares.

Source: https://libvirt.org/formatdomain.html#cpu-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement, Schedule
from agent.domain.document import Element, facts
from agent.domain.layout import DOMAIN_ORDER, put, take

ORDER = (
    *("shares", "period", "quota", "global_period", "global_quota", "emulator_period", "emulator_quota"),
    *("iothread_period", "iothread_quota", "vcpupin", "emulatorpin", "iothreadpin"),
    *("vcpusched", "iothreadsched", "emulatorsched", "cachetune", "memorytune"),
)
PINNING = frozenset(("vcpupin", "emulatorpin", "iothreadpin", "vcpusched", "iothreadsched", "emulatorsched"))

SHARES_PER_VCPU = 1024
MOST_SHARES = 10_000
"""With cgroup v2 libvirt writes the shares to ``cpu.weight`` and refuses to start a guest with more than this."""


def write_cputune(domain: Element, placement: Placement) -> None:
    """The pins, and whatever else was asked for; the domain's other tunables stay.

    ``<shares>`` is what was asked for, else what the domain has, else 1,024 a vCPU as Nova had it until it met cgroup
    v2, where a guest of ten vCPUs then failed to start: so never more than 10,000.  Asked for 0, none is written.
    """
    tune = domain.find("cputune")
    if tune is None:
        tune = etree.Element("cputune")
        tune.extend(_wanted(placement, has_shares=False))
        put(domain, tune, DOMAIN_ORDER)
        return
    wanted = list(_wanted(placement, has_shares=tune.find("shares") is not None))
    present = [node for node in tune if isinstance(node.tag, str)]
    replaced = {node.tag for node in wanted} | PINNING
    if [facts(node) for node in present if node.tag in replaced] == [facts(node) for node in wanted]:
        return
    for node in present:
        if node.tag in replaced:
            take(node)
    for node in wanted:
        put(tune, node, ORDER)


def _wanted(placement: Placement, *, has_shares: bool) -> Iterator[Element]:
    asked = placement.tune
    if asked.shares:
        yield _number("shares", asked.shares)
    elif asked.shares is None and not has_shares:
        yield _number("shares", min(SHARES_PER_VCPU * placement.vcpus, MOST_SHARES))
    if asked.period_us is not None:
        yield _number("period", asked.period_us)
    if asked.quota_us is not None:
        yield _number("quota", asked.quota_us)
    yield from _pins(placement)
    yield from _schedulers(placement)
    yield from _shares(placement)


def _pins(placement: Placement) -> Iterator[Element]:
    pins = {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}
    for vcpu in sorted(pins):
        if pins[vcpu]:
            yield etree.Element("vcpupin", vcpu=str(vcpu), cpuset=str(pins[vcpu]))
    if placement.cells and placement.emulator:
        yield etree.Element("emulatorpin", cpuset=str(placement.emulator))
    for iothread in sorted(placement.iothreads):
        if placement.iothreads[iothread]:
            yield etree.Element("iothreadpin", iothread=str(iothread), cpuset=str(placement.iothreads[iothread]))


def _schedulers(placement: Placement) -> Iterator[Element]:
    asked = placement.schedules
    vcpus = {vcpu: placement.vcpu_schedule(vcpu) for vcpu in sorted({*placement.realtime, *asked.vcpus})}
    for tag, threads, by_number in (("vcpusched", "vcpus", vcpus), ("iothreadsched", "iothreads", asked.iothreads)):
        alike: dict[Schedule, list[int]] = {}
        for number, schedule in sorted(by_number.items()):
            if schedule is not None:
                alike.setdefault(schedule, []).append(number)
        for schedule, numbers in alike.items():
            yield etree.Element(tag, {threads: str(CpuSet(numbers)), **_attributes(schedule)})
    if asked.emulator is not None:
        yield etree.Element("emulatorsched", _attributes(asked.emulator))


def _attributes(schedule: Schedule) -> dict[str, str]:
    """``priority`` goes with the real-time schedulers alone."""
    return {"scheduler": schedule.scheduler} | ({"priority": str(schedule.priority)} if schedule.priority else {})


def _shares(placement: Placement) -> Iterator[Element]:
    """One element for all shares of the same vCPUs: libvirt refuses a second one that names them."""
    caches: dict[CpuSet, Element] = {}
    for cache in placement.cache_shares:
        part = caches.setdefault(cache.vcpus, etree.Element("cachetune", vcpus=str(cache.vcpus)))
        facts = {"id": str(cache.cache), "level": str(cache.level), "type": cache.type}
        etree.SubElement(part, "cache", {**facts, "size": str(cache.size_kib), "unit": "KiB"})
    yield from caches.values()
    bandwidths: dict[CpuSet, Element] = {}
    for bandwidth in placement.bandwidth_shares:
        part = bandwidths.setdefault(bandwidth.vcpus, etree.Element("memorytune", vcpus=str(bandwidth.vcpus)))
        etree.SubElement(part, "node", id=str(bandwidth.cache), bandwidth=str(bandwidth.percent))
    yield from bandwidths.values()


def _number(tag: str, value: int) -> Element:
    node = etree.Element(tag)
    node.text = str(value)
    return node
