"""An existing domain onto a placement: its configuration, its running threads, or both.

A foreign domain may be pinned: naming it is the user's word for it, and its own XML is kept in the journal and in our
metadata, so that ``unpin`` gives it back.  Nothing else ever touches a foreign guest unless it was adopted.
"""

from __future__ import annotations

import msgspec
from lxml import etree

from agent.compute.change import change
from agent.compute.domains import Domain
from agent.compute.driver import Driver
from agent.compute.guest_state import GuestState, Masks, apply_masks, read_state
from agent.compute.journal import Journal
from agent.compute.masks import MaskChange, mask_changes, masks_of
from agent.compute.settle import settle_threads
from agent.compute.start import check_started, with_start_pin
from agent.core.errors import BadInput, CellwrightError
from agent.core.placement import Placement
from agent.core.verdict import GuestVerdict
from agent.domain.metadata import NAMESPACE, Intent, render_intent
from agent.domain.render import graft_domain


class Repinning(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of a domain; None for the part that is left alone."""

    name: str
    placement: Placement
    config: str | None
    masks: Masks | None
    metadata: str | None
    before: GuestState

    def changes(self) -> tuple[MaskChange, ...]:
        """The running guest's threads whose masks will differ."""
        return () if self.masks is None else mask_changes(self.before.masks, self.masks)


def scope(domain: Domain, *, live: bool, config: bool) -> tuple[bool, bool]:
    """Whether the running guest, and whether its configuration changes, by virsh's rules for --live and --config.

    With neither it is what is current: the running guest, or the configuration of one that does not run.
    """
    if live and not domain.active:
        raise BadInput(f"domain {domain.name} is not running: --live has nothing to change")
    if config and not domain.persistent:
        raise BadInput(f"domain {domain.name} is transient: it has no configuration for --config to change")
    if not live and not config:
        return domain.active, not domain.active
    return live, config


def plan_pin(
    libvirt: Driver, name: str, placement: Placement, *, live: bool, config: bool, owner: str, created_at: str
) -> Repinning:
    """What pinning the domain to the placement changes; BadInput when they are not the same guest."""
    before = read_state(libvirt, name)
    xml = before.config if config and before.config is not None else libvirt.xml(name)
    grafted = graft_domain(placement, xml, owner=owner, created_at=created_at, source=f"domain {name}")
    element = intent_text(placement, owner=owner, created_at=created_at)
    return Repinning(
        name=name,
        placement=placement,
        config=with_start_pin(libvirt, placement, grafted) if config else None,
        masks=masks_of(placement, before.masks) if live else None,
        metadata=element if live else None,
        before=before,
    )


def apply_pin(libvirt: Driver, journal: Journal, plan: Repinning, *, verb: str = "pin") -> GuestVerdict | None:
    """Carry the plan out, or put everything back; the verdict on the running guest's threads afterwards.

    First the configuration, which libvirt checks as a whole and which moves nothing; then mask by mask.
    """
    with change(libvirt, journal, verb=verb, name=plan.name, planned=plan.before):
        if plan.config is not None:
            libvirt.define(plan.config, name=plan.name)
        if plan.masks is None:
            return None
        apply_masks(libvirt, plan.name, wanted=plan.masks, now=plan.before.masks)
        libvirt.set_metadata(plan.name, NAMESPACE, plan.metadata, live=True, config=False)
        if not libvirt.domain(plan.name).active:
            raise CellwrightError(f"domain {plan.name} ended while it was pinned")
        settle_threads(libvirt, plan.name)
        return check_started(libvirt, plan.name)


def intent_text(placement: Placement, *, owner: str, created_at: str) -> str:
    """Our metadata element as setMetadata takes it: without namespaces, because libvirt adds ours to every part."""
    element = render_intent(Intent(placement, owner, created_at))
    for node in element.iter():
        node.tag = etree.QName(node).localname
    etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode")
