"""Where an element belongs among its siblings, and how white space is kept so that taking it out again is exact."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from agent.domain.document import Element

DOMAIN_ORDER = (
    *("name", "uuid", "genid", "title", "description", "metadata", "maxMemory", "memory", "currentMemory"),
    *("blkiotune", "memtune", "memoryBacking", "vcpu", "vcpus", "iothreads", "iothreadids", "defaultiothread"),
    *("cputune", "numatune", "resource", "sysinfo", "bootloader", "bootloader_args", "os", "idmap", "features", "cpu"),
    *("clock", "on_poweroff", "on_reboot", "on_crash", "on_lockfailure", "pm", "perf", "devices", "seclabel"),
)
"""The children of ``<domain>`` in the order in which libvirt writes them (virDomainDefFormatInternal)."""


def put(parent: Element, child: Element, order: Sequence[str]) -> None:
    """Insert ``child`` behind the last sibling that ``order`` has before it, indented like its siblings.

    Siblings that ``order`` does not name stay where they are.  ``take`` is the exact inverse.
    """
    earlier = frozenset(order[: order.index(str(child.tag)) + 1])
    before = next((sibling for sibling in reversed(parent) if sibling.tag in earlier), None)
    insert_behind(parent, before, child)


def insert_behind(parent: Element, before: Element | None, child: Element) -> None:
    """Insert ``child`` behind ``before``, or as the first child when that is None."""
    outer = indentation(parent)
    inner = _inner(parent, outer)
    if inner is not None:
        etree.indent(child, space=_step(outer, inner), level=_level(outer, inner) + 1)
    gap = "" if inner is None else "\n" + inner
    if before is not None:
        place = parent.index(before) + 1
        child.tail, before.tail = before.tail, gap
    else:
        place = 0
        child.tail = parent.text if len(parent) else gap and "\n" + (outer or "")
        parent.text = gap
    parent.insert(place, child)


def swap(old: Element, new: Element) -> None:
    """Put ``new`` where ``old`` stands, with the same white space behind it."""
    parent = old.getparent()
    if parent is None:
        raise ValueError("the root element has no place to swap")
    outer = indentation(parent)
    inner = _inner(parent, outer)
    if inner is not None:
        etree.indent(new, space=_step(outer, inner), level=_level(outer, inner) + 1)
    new.tail = old.tail
    parent.replace(old, new)


def take(node: Element) -> None:
    """Remove ``node`` and the white space that ``put`` added with it."""
    parent = node.getparent()
    if parent is None:
        raise ValueError("the root element cannot be taken out")
    before = node.getprevious()
    if before is not None:
        before.tail = node.tail
    elif len(parent) == 1 and not (node.tail or "").strip():
        parent.text = None
    else:
        parent.text = node.tail
    parent.remove(node)


def indentation(node: Element) -> str | None:
    """The white space in front of ``node`` on its line; None when it does not start a line."""
    parent = node.getparent()
    if parent is None:
        return ""
    before = node.getprevious()
    text = (parent.text if before is None else before.tail) or ""
    _, newline, last = text.rpartition("\n")
    return last if newline and not last.strip() else None


def _inner(parent: Element, outer: str | None) -> str | None:
    """The indentation of the children of ``parent``, guessed from the parent's own when it has none."""
    if len(parent):
        return next((found for child in parent if (found := indentation(child)) is not None), None)
    if outer is None:
        return None
    grandparent = parent.getparent()
    return outer + (outer[len(indentation(grandparent) or "") :] if grandparent is not None else "") or "  "


def _step(outer: str | None, inner: str) -> str:
    return inner[len(outer or "") :] or "  "


def _level(outer: str | None, inner: str) -> int:
    step = _step(outer, inner)
    return len(outer or "") // len(step)
