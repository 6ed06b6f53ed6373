"""A foreign guest's pins, read in as claims: our metadata is added to it, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.compute.change import change
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import intent_text
from agent.compute.usage import Claimant, claimant_of, find_overlaps
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.topology import HostTopology
from agent.core.verdict import Finding
from agent.domain.metadata import NAMESPACE
from agent.domain.parse import parse_intent


def plan_adoption(libvirt: Driver, name: str, host: HostTopology) -> Placement:
    """The placement that a foreign domain's own XML amounts to; BadInput when it is ours already."""
    domain = libvirt.domain(name)
    xml = libvirt.xml(name, config=not domain.active)
    if parse_intent(xml, source=f"domain {name}") is not None:
        raise BadInput(f"domain {name} is ours already: it has a placement in its metadata")
    placement = claimant_of(name, xml, host).placement
    return msgspec.structs.replace(
        placement,
        host=host.hostname,
        name=name,
        emulator=placement.emulator or host.usable(),
        # an I/O thread without a pin goes anywhere, wherever the emulator is pinned (qemuProcessSetupIOThread)
        iothreads={number: cpus or host.usable() for number, cpus in placement.iothreads.items()},
    )


def apply_adoption(libvirt: Driver, journal: Journal, placement: Placement, *, owner: str, created_at: str) -> None:
    """Write the placement into the domain's metadata, of the running guest and of its configuration."""
    name = placement.name
    domain = libvirt.domain(name)
    element = intent_text(placement, owner=owner, created_at=created_at)
    with change(libvirt, journal, verb="adopt", name=name):
        libvirt.set_metadata(name, NAMESPACE, element, live=domain.active, config=domain.persistent)


def adoption_overlaps(placement: Placement, claimants: Sequence[Claimant]) -> list[Finding]:
    """Which pCPUs of the adopted guest other guests own too."""
    return find_overlaps(placement.name, placement.owned(), claimants)
