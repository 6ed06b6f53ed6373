"""``<memoryBacking>``: huge pages by guest cell, locked and unmerged pages.

Source: https://libvirt.org/formatdomain.html#memory-backing.
"""

from __future__ import annotations

from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, put, swap

ORDER = ("hugepages", "nosharepages", "locked", "source", "access", "allocation", "discard")


def write_memory_backing(domain: Element, placement: Placement) -> None:
    """What the placement needs; ``source``, ``access``, ``allocation`` and ``discard`` stay as the domain has them.

    A guest with real-time vCPUs has its pages locked and never merged: a page fault would wait for the kernel.
    """
    wanted = []
    pages = _hugepages(placement)
    if pages is not None:
        wanted.append(pages)
    if placement.realtime:
        wanted.append(etree.Element("nosharepages"))
    if placement.locked or placement.realtime:
        wanted.append(etree.Element("locked"))
    if not wanted:
        return
    backing = domain.find("memoryBacking")
    if backing is None:
        backing = etree.Element("memoryBacking")
        put(domain, backing, DOMAIN_ORDER)
    for node in wanted:
        old = backing.find(str(node.tag))
        if old is None:
            put(backing, node, ORDER)
        elif node.tag == "hugepages":
            swap(old, node)


def _hugepages(placement: Placement) -> Element | None:
    """One ``<page>`` a size; its ``nodeset`` counts guest cells."""
    sizes = sorted({cell.page_kib for cell in placement.cells if cell.huge and cell.page_kib is not None})
    if not sizes:
        return None
    pages = etree.Element("hugepages")
    for size in sizes:
        cells = CpuSet(cell.guest_cell for cell in placement.cells if cell.page_kib == size)
        etree.SubElement(pages, "page", size=str(size), unit="KiB", nodeset=str(cells))
    return pages
