"""Sockets, cores and threads that the guest shall see: preferences, maxima, and whether pinned siblings show."""

from __future__ import annotations

from agent.core.errors import BadRequest
from agent.core.guest import TopologyWish
from agent.core.placement import CpuTopology
from agent.placement.guest_topology import possible_topologies
from agent.placement.language.specs import Specs, whole_number

LEVELS = ("sockets", "cores", "threads")
PREFIXES = ("hw:cpu_", "hw:cpu_max_", "hw_cpu_", "hw_cpu_max_")
KEYS = frozenset(("cw:guest_topology", *(prefix + level for prefix in PREFIXES for level in LEVELS)))
HIGHEST_COUNT = 65536


def parse_topology(specs: Specs) -> TopologyWish:
    """Preferences and maxima; an image's preferences replace the flavor's, its maxima may only lower the flavor's."""
    if KEYS.isdisjoint(specs.flavor) and KEYS.isdisjoint(specs.image):
        return TopologyWish()
    flavor_max, image_max = _levels(specs, "cpu_max_")
    for level, ours, theirs in zip(LEVELS, flavor_max, image_max, strict=True):
        if ours and theirs > ours:
            raise BadRequest(f"hw_cpu_max_{level}", theirs, f"the flavor allows hw:cpu_max_{level}={ours} at most")
    highest = [image or flavor for flavor, image in zip(flavor_max, image_max, strict=True)]
    flavor, image = _levels(specs, "cpu_")
    for level, value, most in zip(LEVELS, image, highest, strict=True):
        if most and value > most:
            raise BadRequest(f"hw_cpu_{level}", value, f"is past the maximum of {most}")
    if any(most and value > most for value, most in zip(flavor, highest, strict=True)):
        flavor = [0, 0, 0]  # the image's maxima took the flavor's preference away, as in Nova
    preferred = image if any(image) else flavor
    if any(highest) and not possible_topologies(specs.vcpus, CpuTopology(*highest)):
        limits = ", ".join(f"{level} {most}" for level, most in zip(LEVELS, highest, strict=True) if most)
        raise BadRequest(
            "hw:cpu_max_" + next(level for level, most in zip(LEVELS, highest, strict=True) if most),
            limits,
            f"{specs.vcpus} vCPUs cannot be built within these maxima",
        )
    wish = specs.flavor.get("cw:guest_topology") or ""
    if wish not in ("", "host", "flat"):
        raise BadRequest("cw:guest_topology", wish, "is no such topology", allowed="host, flat")
    return TopologyWish(
        preferred=CpuTopology(*preferred),
        highest=CpuTopology(*highest),
        mirror=wish == "host" or (not wish and not any(preferred)),
    )


def _levels(specs: Specs, prefix: str) -> tuple[list[int], list[int]]:
    flavor, image = [], []
    for level in LEVELS:
        ours, theirs = specs.pair(prefix + level)
        flavor.append(whole_number(f"hw:{prefix}{level}", ours, most=HIGHEST_COUNT) or 0)
        image.append(whole_number(f"hw_{prefix}{level}", theirs, most=HIGHEST_COUNT) or 0)
    return flavor, image
