"""XML that somebody else wrote about a host, read without trust: no entities, no network, no bombs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.errors import BadInput
from agent.core.topology import Core, HostTopology, PagePool, find_contradiction
from agent.inspection.values import MOST

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

LARGEST_BYTES = 16 << 20
"""hwloc's XML of 8,192 pCPUs with devices has a third of this."""


def parse_xml(data: bytes, source: str, *, root: str, harmless_dtd: tuple[str, ...] = ()) -> Element:
    """The root element, which is a ``<root>``; BadInput names ``source`` and what is wrong.

    A document type is refused, unless it only names one of ``harmless_dtd``, which is then not read either.
    """
    try:
        from lxml import etree
    except ImportError as why:
        raise BadInput(f"{source}: reading XML needs the lxml package (pip install 'cellwright[host]')") from why
    if len(data) > LARGEST_BYTES:
        raise BadInput(f"{source}: {len(data)} bytes; allowed: {LARGEST_BYTES}")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)
    try:
        found = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as why:
        raise BadInput(f"{source}: no well-formed XML: {' '.join(str(why).split())}") from why
    dtd: Any = found.getroottree().docinfo.internalDTD  # whose stubs know none of its members
    if dtd is not None and (dtd.system_url not in harmless_dtd or [*dtd.iterentities(), *dtd.iterelements()]):
        raise BadInput(f"{source}: it has a DTD; entities and external documents are not read")
    if found.tag != root:
        raise BadInput(f"{source}: the root element is <{found.tag}>; expected <{root}>")
    return found


def number(element: Element, key: str, below: int = MOST) -> int | None:
    """An attribute as a number less than ``below``; None when it is absent or -1."""
    text = element.get(key)
    if text is None or text == "-1":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < below):
        raise BadInput(f"<{element.tag} {key}={text!r}>: not a number below {below}")
    return int(text)


def needed(element: Element, key: str, below: int = MOST) -> int:
    """An attribute that must be a number less than ``below``: HIGHEST_CPU for pCPUs and cells."""
    found = number(element, key, below)
    if found is None:
        raise BadInput(f"<{element.tag}> without {key}")
    return found


def page_pool(size_kib: int, total: int) -> PagePool:
    """A pool of pages; BadInput when no page has that size.

    libvirt and hwloc say of base pages what memory is left beside huge ones; where that is less than nothing, their
    unsigned number is larger than any memory, and the pool is empty.
    """
    if not 0 < size_kib < 1 << 40:
        raise BadInput(f"pages of {size_kib} KiB")
    return PagePool(size_kib, total if total * size_kib < MOST else 0)


def consistent(host: HostTopology) -> HostTopology:
    """The host; BadInput when its parts contradict each other."""
    if wrong := find_contradiction(host):
        raise BadInput(wrong)
    return host


def counts(cores: list[Core]) -> dict[str, int | bool | None]:
    """Sockets, dies, cores and threads of a host's whole cores, as the Topology document has them."""
    sockets = {core.socket for core in cores}
    dies = {(core.socket, core.die) for core in cores}
    threads = max((len(core.cpus) for core in cores), default=None)
    return {
        "sockets": None if None in sockets or not cores else len(sockets),
        "dies": None if not cores or any(core.die is None for core in cores) else len(dies),
        "cores": len(cores) or None,
        "threads_per_core": threads,
        "smt": None if threads is None else threads > 1,
    }
