"""One action on one instance: through libvirt, with the journal, and what the scheduler is told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.compute.change import REMOVE, change, recover
from agent.compute.create import apply_create, plan_guest
from agent.compute.daemon.fits_now import check_now
from agent.compute.daemon.guests import Guests
from agent.compute.daemon.reconcile import Action
from agent.compute.domains import NoSuchDomain
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.prove import verify_threads
from agent.compute.start import narrow_emulator, start_placed
from agent.compute.virt_type import VirtType, choose_virt_type
from agent.core.errors import BadInput, CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.placement import Misfit, Placement
from agent.core.topology import HostTopology
from agent.core.wire import Assignment, Confirmation, Outcome
from agent.domain.names import check_name
from agent.domain.ownership import mark_instance, uuid_of
from agent.domain.render import render_domain
from agent.inspection.boot import read_boot_id
from agent.inspection.files import Root
from agent.settings.agent import AgentSettings

LOG = logging.getLogger("cellwright.agent")


class Tools(msgspec.Struct, frozen=True):
    """What actions need: libvirt, the journal, how guests are made here, where a boot's facts are kept."""

    libvirt: Driver
    journal: Journal
    settings: AgentSettings
    run_dir: Path


def put_back_interrupted(tools: Tools) -> None:
    """Put back what a process that died, or a libvirtd that went away, left half done."""
    with tools.journal.lock():
        recover(tools.libvirt, tools.journal, say=LOG.warning)


def create(
    tools: Tools,
    assignment: Assignment,
    *,
    host: HostTopology,
    facts: HostFacts,
    guests: Guests,
    accepted: Callable[[], bool],
) -> tuple[Confirmation | None, str]:
    """Check, define, start paused, prove, let run; what to confirm, and the domain's name.

    ``accepted`` tells the scheduler that building begins and answers whether it still wants it; None is confirmed when
    it does not.
    """
    assert assignment.placement is not None
    instance = assignment.instance
    try:
        name = domain_name(tools.libvirt, assignment)
        placement = msgspec.structs.replace(assignment.placement, name=name)
        with tools.journal.lock():
            recover(tools.libvirt, tools.journal, say=LOG.warning)
            answer = check_now(placement, host, guests.claimants, facts.limits)
            if isinstance(answer, Misfit):
                return Confirmation(instance=instance, outcome=Outcome.REFUSED, misfit=answer), name
            if not accepted():
                return None, name
            xml = mark_instance(_render(tools, placement, assignment.owner), instance)
            apply_create(tools.libvirt, tools.journal, plan_guest(placement, xml))
    except Unreachable:
        raise  # nothing is known to be wrong with the assignment: it is tried again
    except CellwrightError as why:
        return Confirmation(instance=instance, outcome=Outcome.FAILED, reason=str(why)[:2000]), assignment.name
    return Confirmation(instance=instance, outcome=Outcome.VERIFIED), name


def remove(tools: Tools, domain: str) -> None:
    """Stop and undefine a domain; one that is gone already is fine."""
    with tools.journal.lock():
        recover(tools.libvirt, tools.journal, say=LOG.warning)
        try:
            found = tools.libvirt.domain(domain)
        except NoSuchDomain:
            return
        with change(tools.libvirt, tools.journal, verb=REMOVE, name=domain):
            if found.active:
                tools.libvirt.destroy(domain)
            if found.persistent:
                tools.libvirt.undefine(domain)


def start(tools: Tools, domain: str) -> None:
    """Start a defined guest; nothing runs before its threads are where they should be."""
    start_placed(tools.libvirt, domain)


def prove(tools: Tools, action: Action) -> Confirmation | None:
    """VERIFIED when every thread of a running guest is where it should be; None, and a log line, when one is not.

    A guest that was paused when an agent died between its steps is let run.
    """
    try:
        paused = tools.libvirt.domain(action.domain).state == "paused"
        if paused:
            narrow_emulator(tools.libvirt, action.domain)
        _check(tools.libvirt, action.domain)
        if paused:
            tools.libvirt.resume(action.domain)
    except CellwrightError as why:
        if isinstance(why, Unreachable):
            raise
        LOG.error("%s", why)
        return None
    return Confirmation(instance=action.instance, outcome=Outcome.VERIFIED)


def domain_name(libvirt: Driver, assignment: Assignment) -> str:
    """The instance's name, or when another domain has that, the name with the beginning of its id."""
    name = check_name(assignment.name)
    there = libvirt.find(name)
    if there is None or there.uuid == uuid_of(assignment.instance):
        return name
    return check_name(f"{name}-{assignment.instance[:8]}")


def lost(instance: str, domain: str) -> Confirmation:
    """The word on a guest that was verified and is no more."""
    reason = f"domain {domain} is gone from libvirt: somebody undefined it" if domain else "its domain is gone"
    return Confirmation(instance=instance, outcome=Outcome.FAILED, reason=reason)


def _check(libvirt: Driver, domain: str) -> None:
    for guest in verify_threads(libvirt, domain).guests:
        if guest.findings:
            said = "; ".join(finding.message for finding in guest.findings)
            raise CellwrightError(f"domain {domain} runs, but not where it was placed: {said}")


def _render(tools: Tools, placement: Placement, owner: str) -> str:
    settings = tools.settings
    kind = VirtType(settings.virt_type)
    trial = choose_virt_type(tools.libvirt, kind, boot_id=read_boot_id(Root()), folder=tools.run_dir)
    return render_domain(
        placement,
        template=settings.template,
        virt_type=str(trial.type),
        disk=_disk(settings, placement.name),
        owner=owner,
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _disk(settings: AgentSettings, name: str) -> str | None:
    if settings.disk_dir is None:
        return None
    found = (Path(settings.disk_dir, name + suffix) for suffix in (".qcow2", ".img"))
    disk = next((str(path) for path in found if path.is_file()), None)
    if disk is None:
        raise BadInput(f"no disk for {name}: {settings.disk_dir} has neither {name}.qcow2 nor {name}.img")
    return disk
