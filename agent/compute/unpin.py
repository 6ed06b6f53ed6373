"""A domain back to what it was before we pinned it."""

from __future__ import annotations

import msgspec

from agent.compute.change import PIN_VERBS, change, undo, undoable
from agent.compute.driver import Driver
from agent.compute.guest_state import GuestState, Masks, apply_masks, read_state
from agent.compute.journal import Entry, Journal
from agent.compute.masks import MaskChange, mask_changes
from agent.compute.settle import settle_threads
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.domain.metadata import NAMESPACE
from agent.domain.parse import parse_domain, parse_intent
from agent.domain.render import strip_domain


class Unpinning(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a domain that is unpinned by its metadata alone; ``config`` None: nothing of ours is in it."""

    before: GuestState
    config: str | None
    masks: Masks

    def changes(self) -> tuple[MaskChange, ...]:
        """The running guest's threads whose masks will differ."""
        return mask_changes(self.before.masks, self.masks) if self.before.running else ()


def pin_entries(libvirt: Driver, journal: Journal, name: str) -> tuple[Entry, ...]:
    """The changes of the domain that unpin takes back, oldest first: those since it was last created by us."""
    kept: list[Entry] = []
    for entry in undoable(journal, libvirt.uri, name=name):
        if entry.uuid == libvirt.domain(name).uuid:
            kept = [*kept, entry] if entry.verb in PIN_VERBS else []
    return tuple(kept)


def plan_unpin(libvirt: Driver, name: str, *, online: CpuSet) -> Unpinning:
    """The domain without anything of ours, as its metadata remembers it; BadInput when nothing of ours is in it.

    Running threads may then use every pCPU that this configuration allows them; a transient guest has none, nor any
    other memory of what it was started with, and may use every pCPU that is online, as libvirt starts guests.
    """
    before = read_state(libvirt, name)
    source = f"domain {name}"
    config = before.config
    if config is not None and parse_intent(config, source=source) is not None:
        config = strip_domain(config, source=source)
    elif before.metadata is None:
        raise BadInput(f"domain {name}: nothing of ours is in it, and the journal has no pin of it")
    bare = None if config is None else parse_domain(config, source=source)
    anywhere = (bare.emulator if bare is not None else CpuSet()) or online
    pins = {vcpu: cpus for cell in (bare.cells if bare else ()) for vcpu, cpus in cell.pins.items()}
    masks = Masks(
        vcpus={vcpu: pins.get(vcpu) or anywhere for vcpu in before.masks.vcpus},
        emulator=anywhere,
        iothreads=dict.fromkeys(before.masks.iothreads, anywhere),
    )
    return Unpinning(before=before, config=None if config == before.config else config, masks=masks)


def apply_unpin(libvirt: Driver, journal: Journal, name: str, *, online: CpuSet, force: bool = False) -> str:
    """Unpin the domain; says how it was done.

    With a journal the configuration, byte for byte, and every mask are those from before the first pin.  Without one,
    or for a guest that we created, they are those of ``plan_unpin``.
    """
    entries = pin_entries(libvirt, journal, name)
    if entries:
        kept = undo(libvirt, journal, entries, verb="unpin", force=force)
        return f"as before {entries[0].verb}" + (f", but {kept}" if kept else "")
    plan = plan_unpin(libvirt, name, online=online)
    with change(libvirt, journal, verb="unpin", name=name, planned=plan.before):
        if plan.config is not None:
            libvirt.define(plan.config, name=name)
        if plan.before.running:
            apply_masks(libvirt, name, wanted=plan.masks, now=plan.before.masks)
            libvirt.set_metadata(name, NAMESPACE, None, live=True, config=False)
            settle_threads(libvirt, name, helpers=plan.masks.emulator)
    if plan.before.config is None:
        return "and its threads may use every pCPU: a transient guest has no XML that would say what it had before"
    return "as its own XML says"
