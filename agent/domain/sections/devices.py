"""``<devices>``: passed-through PCI devices, on buses that tell the guest which of its cells they belong to.

A plain ``<hostdev>`` sits on the guest's root bus, whose NUMA node is unknown to it.  Behind a ``pxb-pcie`` bus with a
``<node>`` the guest's kernel knows.  Source: https://libvirt.org/formatdomain.html#controllers.
"""

from __future__ import annotations

import re

from lxml import etree

from agent.core.errors import BadInput
from agent.core.placement import PlacedDevice, Placement
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, insert_behind, put
from agent.domain.scalars import parse_count, pci_of

ALIAS = "ua-cellwright-"
"""Our devices carry aliases that start so; libvirt keeps aliases with ``ua-``."""

_PCI = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])")


def write_devices(domain: Element, placement: Placement) -> None:
    """One expander bus a guest cell that has devices, one root port a device.

    A device whose host cell holds none of the guest's memory, or is unknown, goes to the root bus; so do all of them
    when the machine has no PCIe (pc-i440fx).  A device that the domain has already keeps its address in the guest.
    """
    there = {pci_of(node) for node in domain.iterfind("devices/hostdev")}
    missing = [device for device in placement.devices if parse_pci(device.pci) not in there]
    if not missing:
        return
    devices = domain.find("devices")
    if devices is None:
        devices = etree.Element("devices")
        put(domain, devices, DOMAIN_ORDER)
    taken = [
        parse_count(node.get("index", "0"), "<controller>", most=255)
        for node in devices.iterfind("controller[@type='pci']")
    ]
    next_index = 1 + max(taken, default=0)
    guest_cells = {cell.host_cell: cell.guest_cell for cell in placement.cells} if _has_pcie(domain) else {}
    by_cell: dict[int | None, list[PlacedDevice]] = {}
    for device in missing:
        cell = guest_cells.get(device.host_cell) if device.host_cell is not None else None
        by_cell.setdefault(cell, []).append(device)
    for cell in sorted(by_cell, key=lambda cell: -1 if cell is None else cell):
        if cell is None:
            for device in by_cell[cell]:
                _append(devices, _hostdev(device, bus=None))
            continue
        bus = next_index
        _append(devices, _expander(bus, cell))
        for slot, device in enumerate(by_cell[cell]):
            port = bus + 1 + slot
            _append(devices, _root_port(port, bus, slot))
            _append(devices, _hostdev(device, bus=port))
        next_index = bus + 1 + len(by_cell[cell])


def parse_pci(text: str) -> tuple[int, int, int, int]:
    """Domain, bus, slot and function of ``0000:3b:00.0``; BadInput for anything else."""
    match = _PCI.fullmatch(text)
    if match is None:
        raise BadInput(f"device {text!r} is no PCI address; allowed: DDDD:BB:SS.F, such as 0000:3b:00.0")
    domain, bus, slot, function = match.groups()
    return int(domain or "0", 16), int(bus, 16), int(slot, 16), int(function, 16)


def _has_pcie(domain: Element) -> bool:
    kind = domain.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    return "q35" in machine or machine.startswith("virt")


def _append(devices: Element, node: Element) -> None:
    insert_behind(devices, devices[-1] if len(devices) else None, node)


def _expander(index: int, guest_cell: int) -> Element:
    node = etree.Element("controller", type="pci", index=str(index), model="pcie-expander-bus")
    etree.SubElement(node, "model", name="pxb-pcie")
    etree.SubElement(etree.SubElement(node, "target"), "node").text = str(guest_cell)
    etree.SubElement(node, "alias", name=f"{ALIAS}cell{guest_cell}")
    return node


def _root_port(index: int, bus: int, slot: int) -> Element:
    node = etree.Element("controller", type="pci", index=str(index), model="pcie-root-port")
    etree.SubElement(node, "alias", name=f"{ALIAS}port{index}")
    node.append(_address(0, bus, slot, 0))
    return node


def _hostdev(device: PlacedDevice, *, bus: int | None) -> Element:
    node = etree.Element("hostdev", mode="subsystem", type="pci", managed="yes")
    host = _address(*parse_pci(device.pci))
    del host.attrib["type"]
    etree.SubElement(node, "source").append(host)
    etree.SubElement(node, "alias", name=ALIAS + re.sub(r"[^0-9a-fA-F]", "-", device.pci))
    if bus is not None:
        node.append(_address(0, bus, 0, 0))
    return node


def _address(domain: int, bus: int, slot: int, function: int) -> Element:
    numbers = {"domain": f"0x{domain:04x}", "bus": f"0x{bus:02x}", "slot": f"0x{slot:02x}"}
    return etree.Element("address", {"type": "pci", **numbers, "function": f"0x{function:x}"})
