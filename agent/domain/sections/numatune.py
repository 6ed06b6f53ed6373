"""``<numatune>``: which host cells the guest's memory comes from.

Source: https://libvirt.org/formatdomain.html#numa-node-tuning.
"""

from __future__ import annotations

from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, put, swap


def write_numatune(domain: Element, placement: Placement) -> None:
    """``<memory>`` with the union of the cells and one ``<memnode>`` a guest cell, strict unless asked otherwise.

    A floating guest has no wish about memory: whatever the domain says stays.
    """
    if not placement.cells:
        return
    mode = str(placement.mempolicy or MemPolicy.STRICT)
    new = etree.Element("numatune")
    union = CpuSet(cell.host_cell for cell in placement.cells)
    etree.SubElement(new, "memory", mode=mode, nodeset=str(union))
    for cell in sorted(placement.cells, key=lambda cell: cell.guest_cell):
        etree.SubElement(new, "memnode", cellid=str(cell.guest_cell), mode=mode, nodeset=str(cell.host_cell))
    old = domain.find("numatune")
    if old is None:
        put(domain, new, DOMAIN_ORDER)
    else:
        swap(old, new)
