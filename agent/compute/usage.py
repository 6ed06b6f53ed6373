"""What running guests hold on this host: ours by the placement in their metadata, foreign ones by what their XML pins.

A foreign vCPU that is pinned to one pCPU owns it.  One that is pinned to a few pCPUs holds them too, unless they are
a whole cell's or inside the shared set, where guests float: nobody pins to half a cell without a reason.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from agent.compute.domains import NoSuchDomain
from agent.compute.driver import Driver
from agent.core.claims import claim
from agent.core.cpuset import CpuSet
from agent.core.placement import PlacedCell, Placement
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.core.verdict import Finding
from agent.domain.document import parse_xml
from agent.domain.parse import parse_domain, parse_elements, parse_intent
from agent.verification.expectation import Expectation
from agent.verification.neighbours import find_owners


class Claimant(msgspec.Struct, frozen=True, kw_only=True):
    """A running guest and what it holds; ``foreign`` when we did not place it and nobody adopted it."""

    name: str
    foreign: bool
    placement: Placement


def read_claimants(libvirt: Driver, host: HostTopology, *, without: Collection[str] = ()) -> tuple[Claimant, ...]:
    """Every running guest but those in ``without``, by name; one that ends meanwhile holds nothing."""
    found = []
    for domain in libvirt.domains():
        if domain.name in without:
            continue
        try:
            xml = libvirt.xml(domain.name)
        except NoSuchDomain:
            continue
        found.append(claimant_of(domain.name, xml, host))
    return tuple(found)


def claimant_of(name: str, xml: str, host: HostTopology) -> Claimant:
    """What one guest holds, from its live XML."""
    source = f"domain {name}"
    intent = parse_intent(xml, source=source)
    asked = parse_domain(xml, host=host, source=source)
    if intent is not None and pins_of(asked) == pins_of(intent.placement):
        # its memory may have moved since it was started, which libvirt's XML does not follow
        return Claimant(name=name, foreign=False, placement=_on_host(intent.placement, host))
    return Claimant(name=name, foreign=intent is None, placement=_with_narrow_masks(_on_host(asked, host), host))


def claimant_of_elements(name: str, xml: str, host: HostTopology) -> Claimant:
    """The same of a guest whose metadata of ours was damaged: what libvirt's own elements say."""
    source = f"domain {name}"
    asked = parse_elements(parse_xml(xml, source=source), host=host, source=source)
    return Claimant(name=name, foreign=True, placement=_with_narrow_masks(_on_host(asked, host), host))


def pins_of(placement: Placement) -> dict[int, CpuSet]:
    """vCPU → its pCPUs, of all cells."""
    return {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}


def sum_usage(claimants: Sequence[Claimant]) -> Usage:
    """The Usage of all of them; a pCPU that two guests own counts once."""
    usage = Usage()
    for claimant in claimants:
        taken = CpuSet(cpu for cell in usage.cells for cpu in cell.pinned)
        usage = claim(usage, _without(claimant.placement, taken, usage.devices))
    return usage


def guests_of(claimants: Sequence[Claimant]) -> dict[str, CpuSet]:
    """Name → the pCPUs a guest owns, or floats over; what ``place`` wants to know of neighbours."""
    return {one.name: one.placement.occupied() for one in claimants}


def find_overlaps(name: str, owned: CpuSet, claimants: Sequence[Claimant]) -> list[Finding]:
    """Which other guests own a pCPU of ``owned``: ``pCPU 40 is owned by two guests``."""
    return find_owners(name, owned, {one.name: Expectation(placement=one.placement) for one in claimants})


def _on_host(placement: Placement, host: HostTopology) -> Placement:
    """Cells that the host has, each with the size of the pages that its memory is really taken from."""
    cells = {cell.id: cell for cell in host.cells}
    placed = []
    for one in placement.cells:
        if one.host_cell in cells:
            pools = sorted(pool.size_kib for pool in cells[one.host_cell].pages)
            pool = one.pool_kib or one.page_kib or next(iter(pools), None)
            placed.append(msgspec.structs.replace(one, pool_kib=pool))
    return msgspec.structs.replace(placement, cells=tuple(placed))


def _with_narrow_masks(placement: Placement, host: HostTopology) -> Placement:
    """A foreign placement whose masks of a few pCPUs are held as ``reserved``."""
    whole = [cell.cpus & host.usable() for cell in host.cells if cell.cpus & host.usable()]
    shared = host.shared_set or CpuSet()
    held = placement.reserved
    for cpus in pins_of(placement).values():
        if len(cpus) > 1 and not cpus <= shared and not any(cell <= cpus for cell in whole):
            held = held | cpus
    return msgspec.structs.replace(placement, reserved=held - placement.owned() | placement.reserved)


def _without(placement: Placement, taken: CpuSet, devices: Collection[str]) -> Placement:
    """The placement minus the pCPUs and devices that somebody else has been counted for."""
    return msgspec.structs.replace(
        placement,
        cells=tuple(_cell_without(cell, taken) for cell in placement.cells),
        reserved=placement.reserved - taken,
        devices=tuple(device for device in placement.devices if device.pci not in devices),
    )


def _cell_without(cell: PlacedCell, taken: CpuSet) -> PlacedCell:
    kept = CpuSet(vcpu for vcpu in cell.owning() if not cell.pins.get(vcpu, CpuSet()) & taken)
    return msgspec.structs.replace(cell, dedicated=kept, reserved=cell.reserved - taken)
