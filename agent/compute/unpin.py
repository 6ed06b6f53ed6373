"""A domain back to what it was before we pinned it."""

from __future__ import annotations

from agent.compute.change import PIN_VERBS, change, undo, undoable
from agent.compute.driver import Driver
from agent.compute.guest_state import Masks, apply_masks, read_state
from agent.compute.journal import Entry, Journal
from agent.compute.settle import settle_threads
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.domain.metadata import NAMESPACE
from agent.domain.parse import parse_domain
from agent.domain.render import strip_domain


def pin_entries(libvirt: Driver, journal: Journal, name: str) -> tuple[Entry, ...]:
    """The changes of the domain that unpin takes back, oldest first: those since it was last created by us."""
    kept: list[Entry] = []
    for entry in undoable(journal, libvirt.uri, name=name):
        if entry.uuid == libvirt.domain(name).uuid:
            kept = [*kept, entry] if entry.verb in PIN_VERBS else []
    return tuple(kept)


def apply_unpin(libvirt: Driver, journal: Journal, name: str, *, online: CpuSet, force: bool = False) -> str:
    """Unpin the domain; says how it was done.

    With a journal the configuration, byte for byte, and every mask are those from before the first pin.  Without one,
    or for a guest that we created, the configuration is what our metadata remembers of it, and running threads may use
    every pCPU that this configuration allows them.
    """
    entries = pin_entries(libvirt, journal, name)
    if entries:
        undo(libvirt, journal, entries, verb="unpin", force=force)
        return "as before " + entries[0].verb
    before = read_state(libvirt, name)
    if before.config is None and before.metadata is None:
        raise BadInput(f"domain {name}: nothing of ours is in it, and the journal has no pin of it")
    config = None if before.config is None else strip_domain(before.config, source=f"domain {name}")
    bare = parse_domain(config, source=f"domain {name}") if config is not None else None
    anywhere = (bare.emulator if bare is not None else CpuSet()) or online
    pins = {vcpu: cpus for cell in (bare.cells if bare else ()) for vcpu, cpus in cell.pins.items()}
    wanted = Masks(
        vcpus={vcpu: pins.get(vcpu) or anywhere for vcpu in before.masks.vcpus},
        emulator=anywhere,
        iothreads=dict.fromkeys(before.masks.iothreads, anywhere),
    )
    with change(libvirt, journal, verb="unpin", name=name):
        if config is not None:
            libvirt.define(config, name=name)
        if before.running:
            apply_masks(libvirt, name, wanted=wanted, now=before.masks)
            libvirt.set_metadata(name, NAMESPACE, None, live=True, config=False)
            settle_threads(libvirt, name, helpers=anywhere)
    return "as its own XML says"
