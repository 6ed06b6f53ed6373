"""``<cputune>``: weight, bandwidth, pins, schedulers, cache and memory-bandwidth shares.

Source: https://libvirt.org/formatdomain.html#cpu-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
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
    for cache in placement.cache_shares:
        part = etree.Element("cachetune", vcpus=str(cache.vcpus))
        facts = {"id": str(cache.cache), "level": str(cache.level), "type": cache.type}
        etree.SubElement(part, "cache", {**facts, "size": str(cache.size_kib), "unit": "KiB"})
        yield part
    for bandwidth in placement.bandwidth_shares:
        part = etree.Element("memorytune", vcpus=str(bandwidth.vcpus))
        etree.SubElement(part, "node", id=str(bandwidth.host_cell), bandwidth=str(bandwidth.percent))
        yield part


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
    priorities = placement.priorities
    if placement.realtime:
        yield _fifo("vcpusched", priorities.vcpus, vcpus=str(placement.realtime))
    if placement.iothreads and priorities.iothreads is not None:
        yield _fifo("iothreadsched", priorities.iothreads, iothreads=str(CpuSet(placement.iothreads)))
    if priorities.emulator is not None:
        yield _fifo("emulatorsched", priorities.emulator)


def _fifo(tag: str, priority: int, **threads: str) -> Element:
    return etree.Element(tag, {**threads, "scheduler": "fifo", "priority": str(priority)})


def _number(tag: str, value: int) -> Element:
    node = etree.Element(tag)
    node.text = str(value)
    return node
