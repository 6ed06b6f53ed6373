"""``<cpu>``: what the guest is told about its sockets, cores, threads and NUMA cells.

Mode, model, cache and features are the template's or the user's, and stay.  Source:
https://libvirt.org/formatdomain.html#cpu-model-and-topology and ``#guest-numa-topology``.
"""

from __future__ import annotations

from lxml import etree

from agent.core.placement import Placement
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, put, swap
from agent.domain.scalars import MOST_THREADS, parse_count

ORDER = ("model", "vendor", "topology", "cache", "maxphysaddr", "feature", "numa")


def write_cpu(domain: Element, placement: Placement) -> None:
    """``<topology>`` and ``<numa>``; a topology that multiplies to the guest's vCPUs stays as it is."""
    cpu = domain.find("cpu")
    if cpu is None:
        cpu = etree.Element("cpu")
        put(domain, cpu, DOMAIN_ORDER)
    _write_topology(cpu, placement)
    if placement.cells:
        _put_or_swap(cpu, _numa(placement))


def _write_topology(cpu: Element, placement: Placement) -> None:
    old = cpu.find("topology")
    if old is not None:
        product = 1
        for name in ("sockets", "dies", "clusters", "cores", "threads"):
            product *= parse_count(old.get(name, "1"), "<topology>", most=MOST_THREADS)
        if product == placement.vcpus:
            return
    shape = placement.cpu_topology
    sizes = {"sockets": str(shape.sockets), "cores": str(shape.cores), "threads": str(shape.threads)}
    _put_or_swap(cpu, etree.Element("topology", sizes))


def _numa(placement: Placement) -> Element:
    """The guest cells.  All of them are shared memory as soon as one has huge pages, as with Nova: a vhost-user switch
    maps the whole guest or nothing of it."""
    numa = etree.Element("numa")
    shared = any(cell.huge for cell in placement.cells)
    for cell in sorted(placement.cells, key=lambda cell: cell.guest_cell):
        node = etree.SubElement(numa, "cell", id=str(cell.guest_cell))
        if cell.vcpus:
            node.set("cpus", str(cell.vcpus))
        node.set("memory", str(cell.memory_kib))
        node.set("unit", "KiB")
        if shared:
            node.set("memAccess", "shared")
        if cell.distances:
            distances = etree.SubElement(node, "distances")
            for other, distance in sorted(cell.distances.items()):
                etree.SubElement(distances, "sibling", id=str(other), value=str(distance))
    return numa


def _put_or_swap(cpu: Element, node: Element) -> None:
    old = cpu.find(str(node.tag))
    if old is None:
        put(cpu, node, ORDER)
    else:
        swap(old, node)
