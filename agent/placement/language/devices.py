"""Which host devices the guest wants, and how near they must be."""

from __future__ import annotations

import re

from agent.core.errors import BadRequest
from agent.core.guest import DeviceWish
from agent.core.policy import PciAffinity
from agent.placement.language.specs import Specs, one_of

ALIAS_KEY = "pci_passthrough:alias"
MOST_DEVICES = 256
_WISH = re.compile(r"([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]|[^:]*[^:\s])(?:\s*:\s*([0-9]{1,5}))?")
"""A PCI address or an alias, and a count."""


def parse_devices(specs: Specs) -> tuple[DeviceWish, ...]:
    """``pci_passthrough:alias``: ``gpu:1,nic:2``, also with a PCI address as alias; a count left out is 1."""
    text = specs.flavor.get(ALIAS_KEY, "")
    wanted: dict[str, int] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        found = _WISH.fullmatch(item)
        count = int(found[2] or 1) if found else 0
        if not found or not 0 < count <= MOST_DEVICES:
            raise BadRequest(ALIAS_KEY, text, f"{item!r} is no device wish", allowed="ALIAS:COUNT, such as gpu:1,nic:2")
        wanted[found[1]] = wanted.get(found[1], 0) + count
    return tuple(DeviceWish(alias, count) for alias, count in sorted(wanted.items()))


def parse_affinity(specs: Specs) -> PciAffinity:
    """``hw:pci_numa_affinity_policy``; ``legacy`` when nobody says; flavor and image may not differ."""
    flavor_text, image_text = specs.pair("pci_numa_affinity_policy")
    flavor = one_of(PciAffinity, "hw:pci_numa_affinity_policy", flavor_text)
    image = one_of(PciAffinity, "hw_pci_numa_affinity_policy", image_text)
    if flavor and image and flavor != image:
        raise BadRequest(
            "hw_pci_numa_affinity_policy", image, f"the flavor says {flavor}, and the image may not differ"
        )
    return flavor or image or PciAffinity.LEGACY
