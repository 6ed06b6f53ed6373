"""The domains of this host as the agent needs them; one whose XML is as before is not parsed again."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec

from agent.compute.daemon.reconcile import OwnDomain
from agent.compute.driver import Driver
from agent.compute.power import named_pcpus
from agent.compute.usage import Claimant, claimant_of
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import HostTopology
from agent.domain.ownership import read_instance
from agent.domain.parse import parse_domain, parse_intent


class Guests(msgspec.Struct, frozen=True, kw_only=True):
    """The domains of one libvirt: those made for instances, what all running ones hold, what others would take.

    ``pids`` has the process of every running one, None where it is not known.
    """

    own: tuple[OwnDomain, ...] = ()
    claimants: tuple[Claimant, ...] = ()
    defined: CpuSet = CpuSet()
    pids: dict[str, int | None] = {}

    def foreign(self) -> tuple[Claimant, ...]:
        """The claims of running guests that were not made for instances."""
        mine = {domain.name for domain in self.own}
        return tuple(one for one in self.claimants if one.name not in mine)


class Parsed(msgspec.Struct, frozen=True):
    """What one XML says: whose domain it is, what it holds when it runs, or would take."""

    own: OwnDomain | None
    claimant: Claimant | None
    defined: CpuSet


class GuestReader:
    """Reads the domains again and again; what an XML meant on this very topology is remembered."""

    def __init__(self) -> None:
        self._digest = ""
        self._known: dict[bytes, Parsed] = {}

    def read(self, libvirt: Driver, host: HostTopology, digest: str) -> Guests:
        """Every domain of ours, running or not, and the claims of all that run; ``digest`` is the topology's."""
        known = self._known if digest == self._digest else {}
        self._digest, self._known = digest, {}
        pids = {}
        for domain, xml in libvirt.with_xml():
            key = hashlib.sha256(f"{domain.active} {xml}".encode()).digest()
            self._known[key] = known.get(key) or parse_guest(domain.name, xml, host, active=domain.active)
            if domain.active:
                pids[domain.name] = domain.pid
        found = tuple(self._known.values())
        return Guests(
            own=tuple(one.own for one in found if one.own is not None),
            claimants=tuple(one.claimant for one in found if one.claimant is not None),
            defined=CpuSet(cpu for one in found for cpu in one.defined),
            pids=pids,
        )


def parse_guest(name: str, xml: str, host: HostTopology, *, active: bool) -> Parsed:
    """What one domain's XML means for the agent."""
    source = f"domain {name}"
    instance = read_instance(xml, source=source)
    own, claimant, defined = None, None, CpuSet()
    if instance is not None:
        intent = parse_intent(xml, source=source)
        placement = intent.placement if intent else None
        own = OwnDomain(instance=instance, name=name, running=active, placement=placement)
    if active:
        claimant = claimant_of(name, xml, host)
    else:
        with suppress(BadInput):  # what makes no sense cannot be started either
            defined = named_pcpus(parse_domain(xml, host=host, source=source), host)
    return Parsed(own, claimant, defined)
