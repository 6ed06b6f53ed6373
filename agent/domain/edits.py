"""What somebody changed in a section since we wrote it: kept when our part of the section is taken out again.

A merge of three: what the section was before us, what we wrote, and what it is now.  Pins and the like are ours
whatever became of them; every other attribute, text and child that differs from what we wrote is the user's.
"""

from __future__ import annotations

from copy import deepcopy

from agent.domain.document import Element, facts
from agent.domain.layout import insert_behind, swap, take
from agent.domain.sections.cputune import PINNING

OURS = {
    "memoryBacking": frozenset(("hugepages", "nosharepages", "locked")),
    "cputune": PINNING | {"cachetune", "memorytune"},
    "numatune": frozenset(("memory", "memnode")),
    "features": frozenset(("pmu",)),
    "cpu": frozenset(("topology", "numa")),
}
"""The children of a section that a placement decides."""

OUR_ATTRIBUTES = {"vcpu": frozenset(("placement", "cpuset"))}

Key = tuple[str, str | None, str | None]


def merge_edits(was: Element, wrote: Element, now: Element) -> Element | None:
    """A copy of ``was`` with every edit that made ``now`` of ``wrote``; None when nobody edited anything."""
    merged = deepcopy(was)
    edited = _merge_attributes(merged, wrote, now)
    if _text(wrote) != _text(now):
        merged.text = now.text
        edited = True
    before, after, kept = _children(wrote), _children(now), _children(merged)
    for key, node in after.items():
        if key in before and facts(before[key]) == facts(node):
            continue
        edited = True
        copy = deepcopy(node)
        copy.tail = None
        if key in kept:
            swap(kept[key], copy)
        else:
            insert_behind(merged, merged[-1] if len(merged) else None, copy)
    for key in before.keys() - after.keys():
        edited = True
        if key in kept:
            take(kept[key])
    return merged if edited else None


def is_empty(section: Element) -> bool:
    """Whether a section says nothing."""
    return not len(section) and not section.attrib and not _text(section)


def _merge_attributes(merged: Element, wrote: Element, now: Element) -> bool:
    edited = False
    for name in sorted({*wrote.keys(), *now.keys()} - OUR_ATTRIBUTES.get(str(now.tag), frozenset())):
        value = now.get(name)
        if value == wrote.get(name):
            continue
        edited = True
        if value is not None:
            merged.set(name, value)
        elif name in merged.attrib:
            del merged.attrib[name]
    return edited


def _children(section: Element) -> dict[Key, Element]:
    """The children that are not ours; a tag that comes more than once has a ``name`` or an ``id``."""
    ours = OURS.get(str(section.tag), frozenset())
    return {
        (node.tag, node.get("name"), node.get("id")): node
        for node in section
        if isinstance(node.tag, str) and node.tag not in ours
    }


def _text(node: Element) -> str:
    return (node.text or "").strip()
