"""Read a host and its guests, and judge them: what ``verify``, ``watch``, ``repair`` and the agent all start with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from agent.compute.domains import Domain, NoSuchDomain
from agent.compute.driver import Driver
from agent.core.errors import BadInput, CellwrightError
from agent.core.observation import HostObservation
from agent.core.verdict import GuestVerdict, Verdict
from agent.domain.document import parse_xml
from agent.domain.parse import parse_domain, parse_intent
from agent.domain.scalars import plugged_vcpus
from agent.inspection.files import Root
from agent.inspection.interrupts import read_irqs
from agent.inspection.process import (
    has_process,
    read_cpus,
    read_guest,
    read_helpers,
    read_neighbours,
    with_memory,
)
from agent.verification.expectation import Expectation
from agent.verification.verdict import check_host


class NotRunning(CellwrightError):
    """A domain that was named has no process, so there is nothing to compare."""


def verify_host(libvirt: Driver, *, names: Collection[str] | None = None, quick: bool = False) -> Verdict:
    """Judge the running guests ``names``, or all: masks alone when ``quick``, else memory and neighbours too.

    Raises NoSuchDomain or NotRunning for a name that cannot be judged.
    """
    observation, expectations = observe_host(libvirt, names=names, quick=quick)
    return check_host(expectations, observation, names=names, quick=quick)


def verify_threads(libvirt: Driver, name: str) -> Verdict:
    """Judge the threads of one running guest without a look at any other: whom they share pCPUs with is not asked."""
    observation, expectations = observe_threads(libvirt, [name])
    return check_host(expectations, observation, names=[name], quick=True)


def observe_threads(
    libvirt: Driver, names: Collection[str], *, must_run: bool = True
) -> tuple[HostObservation, dict[str, Expectation]]:
    """The threads of these guests alone, and what they should be: a few calls for each, however many there are."""
    found = [libvirt.domain(name) if must_run else libvirt.find(name) for name in sorted(names)]
    domains = [one for one in found if one is not None and one.active]
    if must_run:
        _check_running(libvirt, domains, names)
    expectations, untold = read_expectations(libvirt, domains, next_start=False)
    observation = read_observation(
        Root(),
        [domain for domain in domains if domain.name in expectations],
        quick=True,
        not_checked=tuple(f"{name}: {why}" for name, why in sorted(untold.items())),
    )
    return observation, expectations


def verify_pages(libvirt: Driver, *, before: HostObservation | None = None) -> Verdict:
    """Judge every running guest with its memory, which is read of one guest at a time.

    What the kernel tells of a guest's pages is much, and little of it is in the verdict.
    """
    observation, expectations = observe_host(libvirt, memory=False, must_run=False)
    root = Root()
    judged: list[GuestVerdict] = []
    for guest in observation.guests:
        others = (other for other in observation.guests if other is not guest)
        alone = msgspec.structs.replace(observation, guests=(with_memory(root, guest), *others))
        judged += check_host(expectations, alone, names=[guest.name], before=before).guests
    nobody = check_host(expectations, observation, names=())
    return msgspec.structs.replace(
        nobody,
        ok=all(guest.ok for guest in judged),
        proven=nobody.proven and all(guest.proven for guest in judged),
        guests=tuple(judged),
    )


def observe_host(
    libvirt: Driver,
    *,
    names: Collection[str] | None = None,
    quick: bool = False,
    memory: bool = True,
    must_run: bool = True,
) -> tuple[HostObservation, dict[str, Expectation]]:
    """What is, and what should be.  Every running guest is in it; the memory only of those in ``names``, or of none.

    A guest that goes away while it is read, or whose XML makes no sense, is named in ``not_checked`` when it was asked
    for.  With ``must_run``, a guest of ``names`` that does not run from the start is an error.
    """
    domains = libvirt.domains()
    if must_run:
        _check_running(libvirt, domains, names)
    expectations, untold = read_expectations(libvirt, domains, next_start=not quick)
    observation = read_observation(
        Root(),
        [domain for domain in domains if domain.name in expectations],
        memory_of=names if memory and not quick else (),
        quick=quick,
        not_checked=tuple(f"{name}: {why}" for name, why in sorted(untold.items()) if names is None or name in names),
    )
    return observation, expectations


def read_expectations(
    libvirt: Driver, domains: Sequence[Domain], *, next_start: bool
) -> tuple[dict[str, Expectation], dict[str, str]]:
    """What each domain should be, by name, and why some could not be told.

    ``next_start`` reads the configuration of guests of ours too.
    """
    expectations: dict[str, Expectation] = {}
    untold: dict[str, str] = {}
    for domain in domains:
        source = f"domain {domain.name}"
        try:
            expectation = expectation_of(libvirt.xml(domain.name), source=source)
            if next_start and domain.persistent and not expectation.foreign:
                later = parse_domain(libvirt.xml(domain.name, config=True), source=source)
                expectation = msgspec.structs.replace(expectation, next_start=later)
            expectations[domain.name] = expectation
        except NoSuchDomain:
            untold[domain.name] = "it ended while it was read"
        except BadInput as why:
            untold[domain.name] = str(why)
    return expectations, untold


def expectation_of(xml: str, *, source: str) -> Expectation:
    """What a running guest should be, from its live XML; BadInput when that makes no sense."""
    configured = parse_domain(xml, source=source)
    intent = parse_intent(xml, source=source)
    placement = intent.placement if intent else configured
    plugged = plugged_vcpus(parse_xml(xml, source=source), source=source)
    return Expectation(placement=placement, foreign=intent is None, configured=configured, plugged=plugged)


def read_observation(
    root: Root,
    domains: Sequence[Domain],
    *,
    memory_of: Collection[str] | None = None,
    quick: bool = False,
    not_checked: tuple[str, ...] = (),
) -> HostObservation:
    """One reading of the host: threads of every domain, the memory of those in ``memory_of`` (None: of all).

    ``quick`` leaves out memory, other processes and interrupts.
    """
    online, present, isolated = read_cpus(root)
    helpers = read_helpers(root)
    guests = tuple(
        read_guest(
            root,
            domain.name,
            domain.pid,
            memory=not quick and (memory_of is None or domain.name in memory_of),
            uuid=domain.uuid,
            state=domain.state,
            helpers=helpers,
        )
        for domain in domains
    )
    pids = [domain.pid for domain in domains if domain.pid is not None]
    irqs = None if quick else read_irqs(root)
    if irqs is None and not quick:
        not_checked = (*not_checked, "interrupts: no permission to read /proc/interrupts and /proc/irq")
    return HostObservation(
        hostname=root.hostname(),
        kernel=root.identity()[1],
        collected_at=root.stamp()[0],
        online=online,
        present=present,
        isolated=isolated,
        guests=guests,
        neighbours=None if quick else read_neighbours(root, without=pids),
        irqs=irqs,
        irqbalance=not quick and has_process(root, "irqbalance"),
        not_checked=not_checked,
    )


def _check_running(libvirt: Driver, running: Sequence[Domain], names: Collection[str] | None) -> None:
    there: Mapping[str, Domain] = {domain.name: domain for domain in running}
    for name in names or ():
        if name not in there:
            state = libvirt.domain(name).state  # NoSuchDomain says which there are
            raise NotRunning(f"domain {name} is not running ({state}): it has no threads to verify")
