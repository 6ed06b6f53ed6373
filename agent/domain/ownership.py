"""Whose a domain is: the scheduler's instance id, beside the placement and untouched by what changes that.

The domain's UUID is the instance's id, as with OpenStack; the element says that the scheduler asked for it, so that a
guest which only happens to have that UUID is never taken away.
"""

from __future__ import annotations

from uuid import NAMESPACE_OID, UUID, uuid5

from lxml import etree

from agent.domain.document import Document
from agent.domain.layout import DOMAIN_ORDER, insert_behind, put

NAMESPACE = "urn:cellwright:instance:1"
TAG = f"{{{NAMESPACE}}}instance"


def uuid_of(instance: str) -> str:
    """The UUID of an instance's domain: its id, or for an id that is none one that follows from it."""
    try:
        return str(UUID(instance))
    except ValueError:
        return str(uuid5(NAMESPACE_OID, instance))


def mark_instance(xml: str, instance: str) -> str:
    """The domain XML with the instance's UUID and our mark in its metadata."""
    document = Document(xml, source="domain XML")
    root = document.root
    node = root.find("uuid")
    if node is None:
        node = etree.Element("uuid")
        put(root, node, DOMAIN_ORDER)
    node.text = uuid_of(instance)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.Element("metadata")
        put(root, metadata, DOMAIN_ORDER)
    mark = etree.Element(TAG, nsmap={"cellwright-instance": NAMESPACE})
    mark.text = instance
    insert_behind(metadata, metadata[-1] if len(metadata) else None, mark)
    return document.text()


def read_instance(xml: str, *, source: str = "domain XML") -> str | None:
    """The instance that a domain was made for; None for every other domain."""
    node = Document(xml, source=source).root.find(f"metadata/{TAG}")
    return None if node is None or not node.text else node.text.strip()
