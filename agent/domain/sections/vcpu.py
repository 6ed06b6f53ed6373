"""``<vcpu>``, ``<iothreads>`` and ``<iothreadids>``: how many threads, and where they float when nothing pins them."""

from __future__ import annotations

from lxml import etree

from agent.core.placement import Placement
from agent.domain.document import Element, facts
from agent.domain.layout import DOMAIN_ORDER, put, swap, take
from agent.domain.scalars import iothread_ids


def write_vcpu(domain: Element, placement: Placement) -> None:
    """``<vcpu placement='static' cpuset='0-3'>2</vcpu>``.

    ``cpuset`` is given to a floating guest only: it is where its vCPUs, emulator and I/O threads all float.  A guest
    with cells has a pin for each of them, as Nova's have.
    """
    new = etree.Element("vcpu", placement="static")
    if not placement.cells and placement.emulator:
        new.set("cpuset", str(placement.emulator))
    new.text = str(placement.vcpus)
    old = domain.find("vcpu")
    if old is None:
        put(domain, new, DOMAIN_ORDER)
        return
    if "current" in old.attrib:
        new.set("current", old.attrib["current"])
    if facts(old) != facts(new):
        swap(old, new)


def write_iothreads(domain: Element, placement: Placement) -> None:
    """``<iothreads>2</iothreads>``, with ``<iothreadids>`` when the ids are not 1, 2, 3 …

    A domain that has all the I/O threads of the placement keeps its own elements.
    """
    wanted = sorted(placement.iothreads)
    if not wanted or set(wanted) <= set(iothread_ids(domain)):
        return
    for tag in ("iothreads", "iothreadids"):
        old = domain.find(tag)
        if old is not None:
            take(old)
    count = etree.Element("iothreads")
    count.text = str(len(wanted))
    put(domain, count, DOMAIN_ORDER)
    if wanted != list(range(1, len(wanted) + 1)):
        ids = etree.Element("iothreadids")
        for iothread in wanted:
            etree.SubElement(ids, "iothread", id=str(iothread))
        put(domain, ids, DOMAIN_ORDER)
