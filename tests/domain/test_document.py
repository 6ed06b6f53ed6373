"""XML that is no domain, or worse: one clear line, nothing read from elsewhere, no time and memory lost."""

from pathlib import Path

import pytest

from agent.core.errors import BadInput
from agent.domain.document import LARGEST_BYTES, Document, parse_xml

BOMB = (
    '<!DOCTYPE domain [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {new} "{("&" + old + ";") * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><domain>&j;</domain>"
)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no well-formed XML"),
        (b"hello", "no well-formed XML"),
        (b"\x7fELF\x02\x01\x01\x00", "no well-formed XML"),
        (b"<domain>", "no well-formed XML"),
        (b"<domain></domain><domain/>", "no well-formed XML"),
        (b"<domain><name>\x00</name></domain>", "no well-formed XML"),
        (b"<domain><name>\xff</name></domain>", "no well-formed XML"),
        (b"<domain xmlns='urn:x'/>", "the root element is <{urn:x}domain>; expected <domain>"),
        (b"<network><name>default</name></network>", "the root element is <network>; expected <domain>"),
        (b"<!DOCTYPE domain><domain/>", "it has a DTD"),
        (b'<!DOCTYPE domain SYSTEM "http://127.0.0.1:1/x.dtd"><domain/>', "it has a DTD"),
        (BOMB.encode(), "it has a DTD"),
        (b"<domain>&undefined;</domain>", "no well-formed XML"),
        (b"<domain>" + b"<a>" * 100_000, "no well-formed XML"),
        (b"<domain>" + b"<a>" * (LARGEST_BYTES // 3), "allowed: 4194304"),
        (b"<domain/>".ljust(LARGEST_BYTES + 1), "4194305 bytes; allowed: 4194304"),
        ("<?xml version='1.0' encoding='iso-8859-1'?><domain/>".encode("latin-1"), "encoding is"),
        ("<?xml version='1.0' encoding='utf-16'?><domain/>".encode("utf-16"), "encoding is"),
        (b"<?xml version='1.0' encoding='klingon'?><domain/>", "no well-formed XML"),
        ("<domain>\ud800</domain>", "no well-formed XML"),
    ],
    ids=range(20),
)
def test_bad_documents_are_refused_in_one_line(data: bytes | str, why: str) -> None:
    for read in (parse_xml, Document):
        with pytest.raises(BadInput, match=r"^guest\.xml: ") as caught:
            read(data, source="guest.xml")
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_file_is_read_through_an_entity(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    text = f'<!DOCTYPE domain [<!ENTITY x SYSTEM "{secret.as_uri()}">]><domain><name>&x;</name></domain>'
    with pytest.raises(BadInput) as caught:
        parse_xml(text)
    assert "it has a DTD" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "<domain/>",
        "<domain></domain>",
        "\ufeff<domain/>\n",
        "<?xml version='1.0'?>\n<!-- <a> -->"
        "<domain a='>' b=\"/>\"><b c='d>'/>x<!--<c>--><?p <d>?><![CDATA[</e>]]>y</domain >",
        "<domain>&lt;&#10;é😀<a><b><c>\r\n</c></b></a></domain>\r\n<!-- end -->",
    ],
)
def test_an_unchanged_document_is_written_as_it_was(text: str) -> None:
    document = Document(text)
    assert document.text() == text
    assert not document.is_changed(document.root)
