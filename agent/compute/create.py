"""A new guest: defined, started without letting a vCPU run, proven to be where it should, and only then let go."""

from __future__ import annotations

from uuid import uuid4

import msgspec
from lxml import etree

from agent.compute.change import CREATE, change
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.start import start_placed, with_start_pin
from agent.core.errors import BadInput, CellwrightError
from agent.core.placement import Placement
from agent.core.verdict import GuestVerdict
from agent.domain.document import Document
from agent.domain.layout import DOMAIN_ORDER, put
from agent.domain.names import check_name


class NewGuest(msgspec.Struct, frozen=True):
    """A placement and the domain XML that was made for it; the XML has a UUID, so that the guest is known again."""

    placement: Placement
    name: str
    uuid: str
    xml: str


def plan_guest(placement: Placement, xml: str) -> NewGuest:
    """The guest that the XML describes, under its name there; a UUID is added where the XML has none."""
    document = Document(xml, source="domain XML")
    name = check_name(document.root.findtext("name") or placement.name)
    uuid = document.root.findtext("uuid")
    if not uuid:
        uuid = str(uuid4())
        node = etree.Element("uuid")
        node.text = uuid
        put(document.root, node, DOMAIN_ORDER)
    return NewGuest(msgspec.structs.replace(placement, name=name), name, uuid, document.text())


def check_new(libvirt: Driver, name: str) -> None:
    """BadInput when there is a domain of that name already: create never changes one that exists."""
    if libvirt.exists(name):
        raise BadInput(f"domain {name} exists already on {libvirt.uri}; cellwright pin {name} places an existing one")


def apply_create(libvirt: Driver, journal: Journal, guest: NewGuest) -> GuestVerdict | None:
    """Define and start the guest; the verdict on its threads before it ran (None where libvirt has no processes).

    What is defined is the XML as it was rendered, but for the emulator's pin of a guest whose memory QEMU allocates on
    a cell that the emulator has no pCPU on: see ``agent.compute.start``.  Nothing is left behind when any step fails:
    what was defined is undefined again.  Call it with the journal locked.
    """
    check_new(libvirt, guest.name)
    with change(libvirt, journal, verb=CREATE, name=guest.name, uuid=guest.uuid):
        libvirt.define(with_start_pin(libvirt, guest.placement, guest.xml), name=guest.name)
        verdict = start_placed(libvirt, guest.name)
        if not libvirt.domain(guest.name).active:
            raise CellwrightError(f"domain {guest.name}: it ended as soon as it was let run")
    return verdict
