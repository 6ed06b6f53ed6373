"""The skeletons in ``templates/``, and the values that every new domain gets: name, memory, type, disk."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lxml import etree

from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.domain.document import Element, parse_xml
from agent.domain.layout import insert_behind, take

TEMPLATES = ("plain", "realtime", "dpdk", "tiny")
VIRT_TYPES = ("kvm", "qemu")

VHOST_USER_FOLDER = "/var/run/openvswitch"
"""Where Open vSwitch looks for vhost-user sockets that QEMU serves (its ``vhost-sock-dir``)."""


def read_template(name: str) -> bytes:
    """The text of a template; in a wheel it is package data, in a checkout a file of ``templates/``."""
    if name not in TEMPLATES:
        raise BadInput(f"template {name!r} does not exist; allowed: {', '.join(TEMPLATES)}")
    packaged = files("agent") / "templates" / f"{name}.xml"
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(__file__).parents[2] / "templates" / f"{name}.xml").read_bytes()


def fill_template(name: str, placement: Placement, *, virt_type: str, disk: str | None) -> str:
    """The template with the guest's name and memory, for KVM or for TCG."""
    if virt_type not in VIRT_TYPES:
        raise BadInput(f"type {virt_type!r}; allowed: {', '.join(VIRT_TYPES)}")
    root = parse_xml(read_template(name), source=f"template {name}")
    root.set("type", virt_type)
    for path, text in (
        ("name", placement.name),
        ("memory", str(placement.memory_kib)),
        ("currentMemory", str(placement.memory_kib)),
        ("vcpu", str(placement.vcpus)),
    ):
        root.find(path).text = text  # type: ignore[union-attr]  # every template has them
    for number, source in enumerate(root.iterfind("devices/interface[@type='vhostuser']/source")):
        source.set("path", f"{VHOST_USER_FOLDER}/{placement.name}-{number}")
    if virt_type == "qemu":
        _without_kvm(root)
    if disk is not None:
        _add_disk(root, disk, iothread=min(placement.iothreads, default=None))
    return etree.tostring(root, encoding="unicode")


def _without_kvm(root: Element) -> None:
    """What only KVM has: the host's CPU model and cache, and hints to a KVM guest.  ``maximum`` is TCG's best model."""
    for path in ("features/kvm", "cpu/cache"):
        node = root.find(path)
        if node is not None:
            take(node)
    cpu = root.find("cpu")
    if cpu is not None and cpu.get("mode") == "host-passthrough":
        cpu.set("mode", "maximum")


def _add_disk(root: Element, path: str, *, iothread: int | None) -> None:
    node = etree.Element("disk", type="file", device="disk")
    driver = etree.SubElement(node, "driver", name="qemu", type="qcow2" if path.endswith(".qcow2") else "raw")
    if iothread is not None:
        driver.set("iothread", str(iothread))
    try:
        etree.SubElement(node, "source", file=path)
    except ValueError as why:
        raise BadInput(f"disk {path!r} has characters that XML does not allow") from why
    etree.SubElement(node, "target", dev="vda", bus="virtio")
    insert_behind(root.find("devices"), root.find("devices/emulator"), node)  # type: ignore[arg-type]  # as above
