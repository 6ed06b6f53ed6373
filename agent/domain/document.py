"""A domain document as its author wrote it: the tree to work on, and the source text behind every node of it.

Whatever nobody changed is written back as the very text it was read from: quotes, entities, white space inside tags,
comments.  Only new and changed elements are serialised.
"""

from __future__ import annotations

import re
from copy import deepcopy

import msgspec
from lxml import etree

from agent.core.errors import BadInput

Element = etree._Element

LARGEST_BYTES = 4 << 20
"""A longer document cannot reach libvirt: REMOTE_STRING_MAX of its protocol is 4 MiB."""

_HAS_DTD = "it has a DTD; a libvirt domain needs none, and entities are not read"

_TOKEN = re.compile(
    rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|</[^>]*>|<[^\s/>]+(?:[^\"'>]|\"[^\"]*\"|'[^']*')*>", re.DOTALL
)


_START_TAG = re.compile(r"<[A-Za-z_][\w.-]*(?=[\s/>])[^<>]*>")
"""Without a prefix: libvirt writes foreign elements, such as metadata, in lxml's own quotes."""
_VALUE = re.compile(r'="([^"]*)"')


def _with_apostrophes(tag: re.Match[str]) -> str:
    return _VALUE.sub(lambda value: "='" + value[1].replace("'", "&apos;").replace("&quot;", '"') + "'", tag[0])


def parse_xml(data: bytes | str, *, source: str = "domain XML") -> Element:
    """The root element of a domain document; BadInput names ``source`` and what is wrong.

    No DTD, no entities, no network, at most 4 MiB and 256 levels.  UTF-8 only.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(raw) > LARGEST_BYTES:
        raise BadInput(f"{source}: {len(raw)} bytes; allowed: {LARGEST_BYTES}, which is all that libvirt takes")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, strip_cdata=False
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as why:
        if b"<!DOCTYPE" in raw:
            raise BadInput(f"{source}: {_HAS_DTD}") from why
        raise BadInput(f"{source}: no well-formed XML: {' '.join(str(why).split())}") from why
    info = root.getroottree().docinfo
    if info.internalDTD is not None or info.doctype:
        raise BadInput(f"{source}: {_HAS_DTD}")
    if (info.encoding or "UTF-8").upper() not in ("UTF-8", "US-ASCII", "ASCII"):
        raise BadInput(f"{source}: its encoding is {info.encoding}; allowed: UTF-8")
    if root.tag != "domain":
        raise BadInput(f"{source}: the root element is <{root.tag}>; expected <domain>")
    return root


def escape_text(text: str) -> str:
    """Text as it stands between tags.  (xml.sax.saxutils has it too, and imports an HTTP client with it.)"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quote_attribute(text: str) -> str:
    """Text as the value of an attribute, in quotes; white space in it survives a parser."""
    escaped = escape_text(text).replace('"', "&quot;")
    return '"' + escaped.replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;") + '"'


def facts(node: Element) -> tuple[object, ...]:
    """What an element says, for comparing: tag, attributes in any order, text, children."""
    children = [facts(child) for child in node if isinstance(child.tag, str)]
    return node.tag, sorted(node.items()), (node.text or "").strip(), children


class _Origin(msgspec.Struct, frozen=True):
    """Byte positions of one node in the source, and what the node looked like when it was read."""

    start: int
    head_end: int
    tail_start: int
    end: int
    tail_end: int
    text: str | None
    tail: str | None
    attributes: tuple[tuple[str | bytes, str | bytes], ...]
    children: tuple[Element, ...]


class Document:
    """A parsed domain document that can be written back.  Change ``root`` by adding, replacing, removing nodes."""

    def __init__(self, data: bytes | str, *, source: str = "domain XML") -> None:
        self.root = parse_xml(data, source=source)
        self.source = source
        self._raw = data.encode() if isinstance(data, str) else data
        self._origins = self._read_origins()
        self._verbatim: dict[Element, str] = {}
        self._newline = "\r\n" if 2 * self._raw.count(b"\r\n") > self._raw.count(b"\n") else "\n"
        self._apostrophes = self._raw.count(b"='") > self._raw.count(b'="')

    def text(self) -> str:
        """The document as it is now."""
        origin = self._origins[self.root]
        parts = [self._between(0, origin.start)]
        self._write(self.root, parts)
        parts.append(self._between(origin.end, len(self._raw)))
        return "".join(parts)

    def source_of(self, node: Element) -> str:
        """The text that ``node`` was read from; only for nodes that were in the source."""
        origin = self._origins[node]
        return self._between(origin.start, origin.end)

    def is_changed(self, node: Element) -> bool:
        """Whether the node is new, or anything in it differs from what was read."""
        origin = self._origins.get(node)
        if origin is None:
            return node not in self._verbatim
        if node.text != origin.text or tuple(node.items()) != origin.attributes:
            return True
        children = tuple(node)
        if children != origin.children:
            return True
        return any(self.is_changed(child) or child.tail != self._origins[child].tail for child in children)

    def parse_fragment(self, text: str) -> Element:
        """One element from ``text``, in the namespaces of the root, to be written back as this very text."""
        spaces = "".join(
            f" xmlns{':' + prefix if prefix else ''}={quote_attribute(uri)}" for prefix, uri in self.root.nsmap.items()
        )
        found = parse_xml(f"<domain{spaces}>{text}</domain>", source=self.source)
        if not len(found):
            raise BadInput(f"{self.source}: {text!r} is no element; allowed: what stood in the domain before")
        node = found[0]
        node.tail = None
        self._verbatim[node] = text
        return node

    def _between(self, start: int, end: int) -> str:
        return self._raw[start:end].decode("utf-8")

    def _fresh(self, text: str | None) -> str:
        return escape_text(text or "").replace("\n", self._newline)

    def _quoted(self, text: str) -> str:
        """Serialised elements with their attributes quoted as the author of the document does, so that a diff is short.

        In a start tag of lxml every ``<``, ``>`` and ``"`` of a value is an entity.
        """
        return _START_TAG.sub(_with_apostrophes, text) if self._apostrophes else text

    def _write(self, node: Element, parts: list[str]) -> None:
        origin = self._origins.get(node)
        if origin is None or tuple(node.items()) != origin.attributes:
            verbatim = self._verbatim.get(node)
            if verbatim is None:
                # a copy, because lxml repeats the namespaces of the ancestors on an element that has some
                copy = deepcopy(node)
                copy.tail = None
                verbatim = self._quoted(etree.tostring(copy, encoding="unicode")).replace("\n", self._newline)
            parts.append(verbatim)
            return
        if not self.is_changed(node):
            parts.append(self._between(origin.start, origin.end))
            return
        head = self._between(origin.start, origin.head_end)
        closed = origin.head_end == origin.end
        parts.append(head[:-2].rstrip() + ">" if closed else head)
        if node.text == origin.text:
            parts.append(self._between(origin.head_end, self._first_child_start(origin)))
        else:
            parts.append(self._fresh(node.text))
        for child in node:
            self._write(child, parts)
            was = self._origins.get(child)
            if was is not None and child.tail == was.tail:
                parts.append(self._between(was.end, was.tail_end))
            else:
                parts.append(self._fresh(child.tail))
        name = head[1:].split(None, 1)[0].rstrip("/>")
        parts.append(f"</{name}>" if closed else self._between(origin.tail_start, origin.end))

    def _first_child_start(self, origin: _Origin) -> int:
        return self._origins[origin.children[0]].start if origin.children else origin.tail_start

    def _read_origins(self) -> dict[Element, _Origin]:
        spans = _read_spans(self._raw)
        return {
            node: _Origin(*span, node.text, node.tail, tuple(node.items()), tuple(node))
            for node, span in zip(self.root.iter(), spans, strict=True)
        }


def _read_spans(raw: bytes) -> list[tuple[int, int, int, int, int]]:
    """Start, end of the start tag, start of the end tag, end, and end of the text behind, of each node in the root.

    In document order, as ``iter()`` has them.  The document is known to be well-formed and without a DTD.
    """
    spans: list[list[int]] = []
    open_at: list[int] = []
    waiting: int | None = None  # the node whose tail runs until the next tag
    for token in _TOKEN.finditer(raw):
        text, start, end = token.group(), token.start(), token.end()
        if text.startswith(b"<![CDATA["):
            continue
        if waiting is not None:
            spans[waiting][4] = start
            waiting = None
        if text.startswith(b"</"):
            waiting = open_at.pop()
            spans[waiting][2:4] = start, end
        elif text.startswith((b"<!--", b"<?")):
            if open_at:
                waiting = len(spans)
                spans.append([start, end, end, end, end])
        elif text.endswith(b"/>"):
            waiting = len(spans)
            spans.append([start, end, end, end, end])
        else:
            open_at.append(len(spans))
            spans.append([start, end, end, end, end])
        if waiting is not None and not open_at:
            break  # the root is closed
    return [(a, b, c, d, e) for a, b, c, d, e in spans]
