"""``<features>``: what a real-time guest must not have."""

from __future__ import annotations

from lxml import etree

from agent.core.placement import Placement
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, put, swap

ORDER = (
    *("acpi", "apic", "pae", "hap", "viridian", "privnet", "hyperv", "kvm", "xen", "pvspinlock", "pmu", "vmport"),
    *("gic", "smm", "ioapic", "hpt", "vmcoreinfo", "htm", "nested-hv"),
)


def write_features(domain: Element, placement: Placement) -> None:
    """``<pmu state='off'/>`` for a guest with real-time vCPUs: an emulated performance counter costs it exits.

    Source: https://libvirt.org/formatdomain.html#hypervisor-features; Nova does the same for ``hw:cpu_realtime``.
    """
    if not placement.realtime:
        return
    features = domain.find("features")
    if features is None:
        features = etree.Element("features")
        put(domain, features, DOMAIN_ORDER)
    old = features.find("pmu")
    if old is None:
        put(features, etree.Element("pmu", state="off"), ORDER)
    elif old.get("state") != "off":
        swap(old, etree.Element("pmu", state="off"))
