"""What we write into ``<metadata>``: the intent behind a domain, and what the domain had before us.

``virsh metadata DOMAIN urn:cellwright:domain:1`` shows it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from lxml import etree

from agent.core import codec
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.domain.document import Element
from agent.domain.layout import DOMAIN_ORDER, insert_behind, put, swap

NAMESPACE = "urn:cellwright:domain:1"
PREFIX = "cellwright"
ROOT = f"{{{NAMESPACE}}}guest"


class Intent(msgspec.Struct, frozen=True):
    """The placement that was wanted, for whom, and since when (``created_at``: ISO 8601 text, "" when not said).

    ``displaced`` maps each section that we changed to its text before, or to None where the domain had none.
    """

    placement: Placement
    owner: str = ""
    created_at: str = ""
    displaced: dict[str, str | None] = {}


def render_intent(intent: Intent) -> Element:
    """The ``<cellwright:guest>`` element, all of it in our namespace."""
    guest = etree.Element(ROOT, nsmap={PREFIX: NAMESPACE})
    facts = {"name": intent.placement.name, "flavor": intent.placement.flavor}
    facts |= {"owner": intent.owner, "created": intent.created_at}
    for tag, value in facts.items():
        if value:
            _add(guest, tag, value)
    _add(guest, "placement", codec.encode(_without_defaults(intent.placement)).decode())
    for section, before in intent.displaced.items():
        if before is None:
            _add(guest, "added", None).set("section", section)
        else:
            _add(guest, "displaced", before).set("section", section)
    return guest


def read_intent(domain: Element, *, source: str = "domain XML") -> Intent | None:
    """The intent that was written into the domain; None for a foreign domain, BadInput when it was damaged."""
    guest = find_intent(domain)
    if guest is None:
        return None
    texts = {etree.QName(node).localname: node.text or "" for node in guest if isinstance(node.tag, str)}
    if "placement" not in texts:
        raise BadInput(f"{source}: the metadata of {NAMESPACE} has no placement")
    return Intent(
        placement=codec.decode(texts["placement"], Placement, source=f"{source}: placement in the metadata"),
        owner=texts.get("owner", ""),
        created_at=texts.get("created", ""),
        displaced={
            node.get("section", ""): None if node.tag == f"{{{NAMESPACE}}}added" else node.text or ""
            for node in guest
            if node.tag in (f"{{{NAMESPACE}}}added", f"{{{NAMESPACE}}}displaced")
        },
    )


def find_intent(domain: Element) -> Element | None:
    """Our element in the domain's metadata."""
    return domain.find(f"metadata/{ROOT}")


def write_intent(domain: Element, intent: Intent) -> None:
    """Put our element into ``<metadata>``; those of others stay."""
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = etree.Element("metadata")
        put(domain, metadata, DOMAIN_ORDER)
    new = render_intent(intent)
    old = find_intent(domain)
    if old is not None:
        swap(old, new)
    else:
        insert_behind(metadata, metadata[-1] if len(metadata) else None, new)


def _without_defaults(value: Any) -> Any:
    """A document without what it would have anyway, so that a domain is readable; its schema is always said."""
    if isinstance(value, msgspec.Struct):
        names, defaults = value.__struct_fields__, value.__struct_defaults__
        required = len(names) - len(defaults)
        return {
            name: _without_defaults(getattr(value, name))
            for number, name in enumerate(names)
            if number < required
            or name in ("schema", "fits")
            or getattr(value, name) != _value_of(defaults[number - required])
        }
    return [_without_defaults(item) for item in value] if isinstance(value, tuple) else value


def _value_of(default: Any) -> Any:
    """msgspec keeps a factory for a default that could be changed, such as ``{}``; NODEFAULT equals nothing."""
    return default.factory() if hasattr(default, "factory") else default


def _add(guest: Element, tag: str, text: str | None) -> Element:
    node = etree.SubElement(guest, f"{{{NAMESPACE}}}{tag}")
    try:
        node.text = text
    except ValueError as why:
        raise BadInput(f"{tag} {text!r} has characters that XML does not allow") from why
    return node
