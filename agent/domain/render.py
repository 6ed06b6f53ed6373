"""A placement into a domain document, and out of it again.

``render_domain`` starts from a template, ``graft_domain`` from somebody's own XML; both change only the sections of
``agent.domain.sections`` and our metadata.  ``strip_domain`` takes all of that away and puts back what was there.
"""

from __future__ import annotations

import msgspec
from lxml import etree

from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.units import format_kib
from agent.domain.document import Document, Element, parse_xml
from agent.domain.edits import is_empty, merge_edits
from agent.domain.layout import DOMAIN_ORDER, put, swap, take
from agent.domain.metadata import Intent, find_intent, read_intent, write_intent
from agent.domain.names import check_name
from agent.domain.scalars import memory_kib, vcpu_count
from agent.domain.sections import OWNED, SECTIONS
from agent.domain.sections.devices import ALIAS
from agent.domain.templates import fill_template

_CONTAINERS = ("devices", "metadata")
"""Sections that we only add to: what others put there after us survives a strip."""


def render_domain(
    placement: Placement,
    *,
    template: str = "plain",
    virt_type: str = "kvm",
    disk: str | None = None,
    owner: str = "",
    created_at: str = "",
) -> str:
    """The XML of a new domain for a placement, ready for ``virsh define``.

    ``template`` is a name in ``templates/``, ``virt_type`` is ``kvm`` or ``qemu`` (TCG), ``disk`` the path of an image
    (``.qcow2``, everything else is raw).  ``created_at`` is given because rendering has no clock.
    """
    check_name(placement.name)
    document = Document(fill_template(template, placement, virt_type=virt_type, disk=disk), source=template)
    _graft(document, placement, owner=owner, created_at=created_at)
    return document.text()


def graft_domain(
    placement: Placement, xml: bytes | str, *, owner: str = "", created_at: str = "", source: str = "domain XML"
) -> str:
    """Somebody's own domain XML with the placement in it; everything else stays byte for byte as it was.

    A domain that has a placement of ours already gets the new one, and remembers what it had before the first.
    BadInput when its vCPUs or its memory are not those of the placement.
    """
    document = Document(xml, source=source)
    if find_intent(document.root) is not None:
        document = Document(_strip(document), source=source)
    _check_same_guest(document, placement)
    name = document.root.findtext("name") or placement.name
    _graft(document, msgspec.structs.replace(placement, name=name), owner=owner, created_at=created_at)
    return document.text()


def strip_domain(xml: bytes | str, *, source: str = "domain XML") -> str:
    """The domain XML without anything of ours, and with what it had before; BadInput when nothing of ours is in it.

    What somebody changed beside our pins since, in whatever section, stays changed.
    """
    document = Document(xml, source=source)
    if find_intent(document.root) is None:
        raise BadInput(f"{source}: no placement of ours is in its metadata, so there is nothing to take out")
    return _strip(document)


def _graft(document: Document, placement: Placement, *, owner: str, created_at: str) -> None:
    root = document.root
    names = (*OWNED, "metadata")
    before = {name: root.find(name) for name in names}
    texts = {name: None if node is None else document.source_of(node) for name, node in before.items()}
    had_children = {name for name in _CONTAINERS if (node := before[name]) is not None and len(node)}
    for write in SECTIONS.values():
        write(root, placement)
    displaced = {}
    for name in names:
        node = root.find(name)
        changed = name == "metadata" or (node is not before[name] if node is None else document.is_changed(node))
        if changed and name not in had_children:
            displaced[name] = texts[name]
    write_intent(root, Intent(placement, owner, created_at, displaced))


def _strip(document: Document) -> str:
    root = document.root
    intent = read_intent(root, source=document.source)
    ours = find_intent(root)
    if intent is None or ours is None:
        raise BadInput(f"{document.source}: no placement of ours is in its metadata")
    take(ours)
    for node in root.findall("devices/*"):
        alias = node.find("alias")
        if alias is not None and (alias.get("name") or "").startswith(ALIAS):
            take(node)
    ours_now = (name for name in OWNED if name in intent.displaced)  # a name that is no section's was put there since
    now = {name: found for name in ours_now if (found := root.find(name)) is not None}
    for name in (*OWNED, "metadata"):
        if name in intent.displaced:
            _restore(document, name, intent.displaced[name])
    _keep_edits(document, intent, now)
    return document.text()


def _keep_edits(document: Document, intent: Intent, now: dict[str, Element]) -> None:
    """Bring what others changed in our sections over to the restored ones; ``now`` are the sections before that."""
    root = document.root
    wrote = parse_xml(document.text(), source=document.source)
    for write in SECTIONS.values():
        write(wrote, intent.placement)
    for name in OWNED:
        if name in _CONTAINERS or name not in now:
            continue
        was, ours = root.find(name), wrote.find(name)
        nothing: Element = etree.Element(name)
        merged = merge_edits(nothing if was is None else was, nothing if ours is None else ours, now[name])
        if merged is None:
            continue
        if was is not None:
            swap(was, merged)
        elif not is_empty(merged):
            put(root, merged, DOMAIN_ORDER)


def _restore(document: Document, name: str, text: str | None) -> None:
    root = document.root
    now = root.find(name)
    if name in _CONTAINERS and now is not None and any(isinstance(node.tag, str) for node in now):
        return
    if text is None:
        if now is not None:
            take(now)
        return
    was: Element = document.parse_fragment(text)
    if now is None:
        put(root, was, DOMAIN_ORDER)
    else:
        swap(now, was)


def _check_same_guest(document: Document, placement: Placement) -> None:
    found = vcpu_count(document.root, source=document.source)
    if found != placement.vcpus:
        raise BadInput(f"{document.source}: the domain has {found} vCPUs, the placement {placement.vcpus}")
    memory = memory_kib(document.root, source=document.source)
    if abs(memory - placement.memory_kib) >= 1024:
        raise BadInput(
            f"{document.source}: the domain has {format_kib(memory)}, the placement {format_kib(placement.memory_kib)}"
        )
