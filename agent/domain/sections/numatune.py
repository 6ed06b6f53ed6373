"""``<numatune>``: which host cells the guest's memory comes from.

Source: https://libvirt.org/formatdomain.html#numa-node-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.domain.document import Element, facts
from agent.domain.layout import DOMAIN_ORDER, put, take

ORDER = ("memory", "memnode")


def write_numatune(domain: Element, placement: Placement) -> None:
    """``<memory>`` with the union of the cells and one ``<memnode>`` a guest cell, strict unless asked otherwise.

    A floating guest has no wish about memory: whatever the domain says stays.
    """
    if not placement.cells:
        return
    wanted = list(_wanted(placement))
    tune = domain.find("numatune")
    if tune is None:
        tune = etree.Element("numatune")
        tune.extend(wanted)
        put(domain, tune, DOMAIN_ORDER)
        return
    present = [node for node in tune if node.tag in ORDER]
    if [facts(node) for node in present] == [facts(node) for node in wanted]:
        return
    for node in present:
        take(node)
    for node in wanted:
        put(tune, node, ORDER)


def _wanted(placement: Placement) -> Iterator[Element]:
    mode = str(placement.mempolicy or MemPolicy.STRICT)
    union = CpuSet(cell.host_cell for cell in placement.cells)
    yield etree.Element("memory", mode=mode, nodeset=str(union))
    for cell in sorted(placement.cells, key=lambda cell: cell.guest_cell):
        yield etree.Element("memnode", cellid=str(cell.guest_cell), mode=mode, nodeset=str(cell.host_cell))
