"""``<cpu>``: what the guest is told about its sockets, cores, threads and NUMA cells.

Mode, model, cache and features are the template's or the user's, and stay.  Source:
https://libvirt.org/formatdomain.html#cpu-model-and-topology and ``#guest-numa-topology``.
"""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from agent.core.placement import PlacedCell, Placement
from agent.domain.document import Element, facts
from agent.domain.layout import DOMAIN_ORDER, put, swap
from agent.domain.scalars import MOST_THREADS, parse_count, parse_cpus, parse_memory_kib

ORDER = ("model", "vendor", "topology", "cache", "maxphysaddr", "feature", "numa")
CELL_ORDER = ("distances", "cache")


def write_cpu(domain: Element, placement: Placement) -> None:
    """``<topology>`` and ``<numa>``; a topology that multiplies to the guest's vCPUs stays as it is.

    Guest cells that the domain has already keep what a placement does not decide: how their memory is shared and
    discarded, their caches, and the latencies between them.
    """
    cpu = domain.find("cpu")
    if cpu is None:
        cpu = etree.Element("cpu")
        put(domain, cpu, DOMAIN_ORDER)
    _write_topology(cpu, placement)
    if placement.cells:
        _write_numa(cpu, placement)


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
    _put_or_swap(cpu, etree.Element("topology", sizes), ORDER)


def _write_numa(cpu: Element, placement: Placement) -> None:
    """The guest cells.  All of them are shared memory as soon as one has huge pages, as with Nova: a vhost-user switch
    maps the whole guest or nothing of it."""
    cells = sorted(placement.cells, key=lambda cell: cell.guest_cell)
    there = {node.get("id", str(index)): node for index, node in enumerate(cpu.iterfind("numa/cell"))}
    numa = None
    if there.keys() != {str(cell.guest_cell) for cell in cells}:
        numa = etree.Element("numa")
        there = {str(cell.guest_cell): etree.SubElement(numa, "cell", id=str(cell.guest_cell)) for cell in cells}
    shared = any(cell.huge for cell in cells)
    for cell in cells:
        _fill_cell(there[str(cell.guest_cell)], cell, shared=shared)
    if numa is not None:
        _put_or_swap(cpu, numa, ORDER)


def _fill_cell(node: Element, cell: PlacedCell, *, shared: bool) -> None:
    """Say of a guest cell what differs from the placement."""
    if parse_cpus(node.get("cpus"), "<cell>") != cell.vcpus:
        if cell.vcpus:
            node.set("cpus", str(cell.vcpus))
        else:
            del node.attrib["cpus"]
    if parse_memory_kib(node.get("memory", "0"), node.get("unit"), "<cell>") != cell.memory_kib:
        node.set("memory", str(cell.memory_kib))
        node.set("unit", "KiB")
    if shared:
        node.set("memAccess", "shared")
    if cell.distances:
        distances = etree.Element("distances")
        for other, distance in sorted(cell.distances.items()):
            etree.SubElement(distances, "sibling", id=str(other), value=str(distance))
        _put_or_swap(node, distances, CELL_ORDER)


def _put_or_swap(parent: Element, node: Element, order: Sequence[str]) -> None:
    old = parent.find(str(node.tag))
    if old is None:
        put(parent, node, order)
    elif facts(old) != facts(node):
        swap(old, node)
