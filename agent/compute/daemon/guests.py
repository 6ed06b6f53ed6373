"""The domains of this host as the agent needs them; one whose XML is as before is not parsed again."""

from __future__ import annotations

import hashlib

import msgspec

from agent.compute.daemon.reconcile import OwnDomain
from agent.compute.domains import Domain
from agent.compute.driver import Driver
from agent.compute.power import named_pcpus
from agent.compute.prove import expectation_of
from agent.compute.usage import Claimant, claimant_of, claimant_of_elements
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import HostTopology
from agent.domain.ownership import read_instance
from agent.domain.parse import parse_domain, parse_intent
from agent.verification.expectation import Expectation


class Guests(msgspec.Struct, frozen=True, kw_only=True):
    """The domains of one libvirt: those made for instances, what all running ones hold, what others would take.

    ``expectations`` has what each running one should be; ``wrong`` says of which the XML or our metadata makes no sense
    and why.
    """

    own: tuple[OwnDomain, ...] = ()
    claimants: tuple[Claimant, ...] = ()
    defined: CpuSet = CpuSet()
    running: tuple[Domain, ...] = ()
    expectations: dict[str, Expectation] = {}
    wrong: dict[str, str] = {}

    @property
    def pids(self) -> dict[str, int | None]:
        """The process of every running domain, None where it is not known."""
        return {domain.name: domain.pid for domain in self.running}

    def foreign(self) -> tuple[Claimant, ...]:
        """The claims of running guests that were not made for instances."""
        mine = {domain.name for domain in self.own}
        return tuple(one for one in self.claimants if one.name not in mine)


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What one XML says: whose domain it is, what it holds and should be when it runs, or would take."""

    own: OwnDomain | None = None
    claimant: Claimant | None = None
    expectation: Expectation | None = None
    defined: CpuSet = CpuSet()
    wrong: str = ""


class GuestReader:
    """Reads the domains again and again; what an XML meant on this very topology is remembered."""

    def __init__(self) -> None:
        self._digest = ""
        self._known: dict[bytes, Parsed] = {}

    def read(self, libvirt: Driver, host: HostTopology, digest: str) -> Guests:
        """Every domain of ours, running or not, and the claims of all that run; ``digest`` is the topology's."""
        before = self._known if digest == self._digest else {}
        self._digest, self._known = digest, {}
        parsed: dict[str, Parsed] = {}
        running = []
        for domain, xml in libvirt.with_xml():
            key = hashlib.sha256(f"{domain.active} {xml}".encode()).digest()
            parsed[domain.name] = before.get(key) or parse_guest(domain.name, xml, host, active=domain.active)
            self._known[key] = parsed[domain.name]
            if domain.active:
                running.append(domain)
        return Guests(
            own=tuple(one.own for one in parsed.values() if one.own is not None),
            claimants=tuple(one.claimant for one in parsed.values() if one.claimant is not None),
            defined=CpuSet(cpu for one in parsed.values() for cpu in one.defined),
            running=tuple(running),
            expectations={name: one.expectation for name, one in parsed.items() if one.expectation is not None},
            wrong={name: one.wrong for name, one in parsed.items() if one.wrong},
        )


def parse_guest(name: str, xml: str, host: HostTopology, *, active: bool) -> Parsed:
    """What one domain's XML means for the agent.

    A guest whose metadata of ours was damaged holds what its own elements say; one that makes no sense at all holds
    nothing that could be told.
    """
    source = f"domain {name}"
    instance = read_instance(xml, source=source)
    wrong, placement = "", None
    try:
        intent = parse_intent(xml, source=source)
        placement = intent.placement if intent else None
    except BadInput as why:
        wrong = str(why)
    if instance is not None and placement is None and not wrong:
        wrong = f"{source}: it was made for instance {instance}, and its metadata has no placement any more"
    own = OwnDomain(instance=instance, name=name, running=active, placement=placement) if instance is not None else None
    try:
        if not active:
            defined = named_pcpus(parse_domain(xml, host=host, source=source), host)
            return Parsed(own=own, defined=defined, wrong=wrong)
        if wrong:
            claimant = claimant_of_elements(name, xml, host)
            by_pins = Expectation(placement=claimant.placement, foreign=True)
            said = f"{wrong}; what it holds is told by its pins alone"
            return Parsed(own=own, claimant=claimant, expectation=by_pins, wrong=said)
        expectation = expectation_of(xml, source=source)
        return Parsed(own=own, claimant=claimant_of(name, xml, host), expectation=expectation)
    except BadInput as why:
        return Parsed(own=own, wrong=f"{why}; what it holds is not known")
