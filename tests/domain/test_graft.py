"""A user's own document: what we own changes, everything else stays byte for byte, and unpinning brings it all back."""

import difflib

import pytest
from lxml import etree

from agent.core.errors import BadInput
from agent.domain.document import Document, parse_xml
from agent.domain.parse import parse_domain, parse_intent
from agent.domain.render import graft_domain, strip_domain
from tests.domain.cases import CASES, cell, cpus, guest, renamed

UGLY = """<?xml version='1.0' encoding="utf-8"?>
<!-- kept by hand; ask Ann -->
<domain   id='7'\ttype='kvm' xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0" xmlns:acme='urn:acme'>
   <uuid>b5a2f9b6-0000-4000-8000-00000000c0de</uuid><name>o&apos;brien &lt;test&gt; &#x1F600;</name>

   <metadata>
      <acme:owner   xmlns:x="urn:x" x:a='1'>Ann &amp; Bob</acme:owner><!-- in here too -->
   </metadata>
   <memory unit='GiB'>4</memory>     <vcpu placement="auto" current="2">4</vcpu>
   <?keep this?>
   <description><![CDATA[1 < 2 && "x"]]></description>
   <cputune><!-- old pins -->
      <vcpupin vcpu='0' cpuset='1-4,^2'/> <shares>777</shares>
      <vcpupin cpuset='7' vcpu='1'/>
      <global_quota  >-1</global_quota>
   </cputune>
   <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
   <cpu match="exact"  mode='custom'><model fallback='allow'>Haswell</model>
      <topology cores='2' sockets='1' threads='2'/>
   </cpu>
   <acme:rack row="3"/>
   <features><acpi/></features>
   <devices >
      <controller type='pci' index='9' model='pcie-root-port'/>
   </devices>
   <qemu:commandline>
      <qemu:arg value='-nodefaults'/>
   </qemu:commandline>
</domain  >
<!-- the end -->
"""

PLACED = guest(
    cell(0, 0, {0: "0", 1: "36"}, page_kib=2048),
    cell(1, 1, {2: "18", 3: "54"}, page_kib=2048),
    emulator="0,18",
    iothreads={1: cpus("0")},
    realtime=cpus("3"),
    devices=CASES["devices"].placement.devices,
)


def lines_taken(before: str, after: str) -> list[str]:
    diff = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:].strip() for line in diff if line.startswith("- ")]


def test_only_the_sections_we_own_change() -> None:
    after = graft_domain(PLACED, UGLY, owner="ann", created_at="2026-01-01T00:00:00Z")
    assert lines_taken(UGLY, after) == [
        """<memory unit='GiB'>4</memory>     <vcpu placement="auto" current="2">4</vcpu>""",
        "<cputune><!-- old pins -->",
        "<vcpupin vcpu='0' cpuset='1-4,^2'/> <shares>777</shares>",
        "<vcpupin cpuset='7' vcpu='1'/>",
        "<features><acpi/></features>",
    ]
    for kept in (
        "<!-- kept by hand; ask Ann -->",
        "<domain   id='7'\ttype='kvm'",
        "<name>o&apos;brien &lt;test&gt; &#x1F600;</name>",
        """<acme:owner   xmlns:x="urn:x" x:a='1'>Ann &amp; Bob</acme:owner><!-- in here too -->""",
        '<![CDATA[1 < 2 && "x"]]>',
        "<!-- old pins -->",
        "<shares>777</shares>",
        "<global_quota  >-1</global_quota>",
        "<topology cores='2' sockets='1' threads='2'/>",
        """<cpu match="exact"  mode='custom'><model fallback='allow'>Haswell</model>""",
        '<acme:rack row="3"/>',
        "</domain  >\n<!-- the end -->\n",
    ):
        assert kept in after, kept
    assert "<vcpu placement='static' current='2'>4</vcpu>" in after, "quoted as most of the document is"
    assert "xmlns:qemu" not in after.split("<cputune>")[1], "no namespace of the root is repeated on what we add"


def test_what_was_grafted_is_read_back_under_the_domains_own_name() -> None:
    after = graft_domain(PLACED, UGLY, owner="ann", created_at="2026-01-01T00:00:00Z")
    assert parse_domain(after) == renamed(PLACED, "o'brien <test> 😀")
    intent = parse_intent(after)
    assert intent is not None
    assert (intent.owner, intent.created_at) == ("ann", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_unpinning_brings_back_every_byte(newline: str) -> None:
    before = UGLY.replace("\n", newline)
    once = graft_domain(PLACED, before)
    assert once.count("\r\n") == once.count("\n") * (newline == "\r\n")
    assert strip_domain(once) == before
    assert strip_domain(graft_domain(PLACED, once)) == before


def test_what_the_user_adds_later_survives_unpinning() -> None:
    added = graft_domain(PLACED, UGLY).replace("</devices>", "<watchdog model='itco'/></devices>")
    assert strip_domain(added) == UGLY.replace("</devices>", "<watchdog model='itco'/></devices>")


@pytest.mark.parametrize(
    ("old", "new", "stays"),
    [
        ("<shares>777</shares>", "<shares>500</shares>", "<shares>500</shares>"),
        ("<global_quota  >-1</global_quota>", "", ""),
        ("</cputune>", "<emulator_quota>5000</emulator_quota></cputune>", "<emulator_quota>5000</emulator_quota>"),
        ("current='2'", "current='3'", "current='3'"),
        ("<acpi/>", "<acpi/><hyperv><relaxed state='on'/></hyperv>", "<relaxed state='on'/>"),
        ("<model fallback='allow'>Haswell</model>", "<model fallback='allow'>Icelake</model>", ">Icelake</model>"),
        ("mode='custom'", "mode='maximum'", "maximum"),
    ],
    ids=["changed", "removed", "added", "attribute", "another section", "text", "attribute of a section"],
)
def test_what_somebody_edits_inside_our_sections_survives_unpinning_and_pinning_again(
    old: str, new: str, stays: str
) -> None:
    once = graft_domain(PLACED, UGLY)
    assert old in once
    edited = once.replace(old, new)
    for after in (strip_domain(edited), strip_domain(graft_domain(PLACED, edited))):
        assert stays.replace("'", '"') in after.replace("'", '"')
        assert (old in after) == (old in new)
        assert 'cpuset="0"' not in after.replace("'", '"')
        assert "vcpupin vcpu='0' cpuset='1-4,^2'" in after.replace('"', "'"), "the pins from before us are back"


def test_a_section_that_we_added_goes_unless_somebody_used_it() -> None:
    bare = "<domain type='kvm'>\n  <name>a</name>\n  <memory>4194304</memory>\n  <vcpu>4</vcpu>\n</domain>"
    once = graft_domain(PLACED, bare)
    assert strip_domain(once) == bare
    edited = once.replace("</cputune>", "  <emulator_quota>5000</emulator_quota>\n  </cputune>")
    after = strip_domain(edited)
    assert "<cputune>\n    <emulator_quota>5000</emulator_quota>\n  </cputune>" in after
    assert "numatune" not in after


def test_quotes_inside_what_we_add_are_safe_in_either_style() -> None:
    for quote in "'\"":
        document = Document("<domain type='kvm'><name>a</name></domain>".replace("'", quote))
        etree.SubElement(document.root, "title", text="""it's "so" <x> & y""").text = """a ="b" 'c'"""
        text = document.text()
        again = parse_xml(text)[1]
        assert (again.get("text"), again.text) == ("""it's "so" <x> & y""", """a ="b" 'c'""")
        assert f"text={quote}" in text


VHOST_USER = """<domain type='kvm'>
  <name>switch</name>
  <memory unit='GiB'>4</memory>
  <vcpu>4</vcpu>
  <numatune>
    <!-- ask Ann -->
    <memory mode='preferred' nodeset='0'/>
  </numatune>
  <cpu mode='host-model'>
    <numa>
      <!-- the switch maps all of it -->
      <cell id='0' cpus='0-1' memory='2' unit='GiB' memAccess='shared' discard='yes'>
        <cache level='3' associativity='direct' policy='none'><size value='8' unit='MiB'/></cache>
      </cell>
      <cell cpus='2,3' memory='2097152' memAccess='shared'/>
      <interconnects><latency initiator='0' target='1' type='access' value='9'/></interconnects>
    </numa>
  </cpu>
</domain>
"""


def test_guest_cells_keep_what_a_placement_does_not_decide() -> None:
    placed = guest(cell(0, 0, {0: "0", 1: "36"}), cell(1, 1, {2: "18", 3: "54"}), emulator="0,18")
    after = graft_domain(placed, VHOST_USER)
    kept = VHOST_USER[VHOST_USER.index("    <numa>") : VHOST_USER.index("  </cpu>")]
    assert kept in after
    assert "    <memory mode='strict' nodeset='0-1'/>\n    <memnode" in after
    assert "    <!-- ask Ann -->\n" in after
    assert strip_domain(after) == VHOST_USER
    huge = guest(
        *(cell(n, n, pins, page_kib=2048) for n, pins in enumerate(({0: "0", 1: "36"}, {2: "18", 3: "54"}))),
        emulator="0,18",
    )
    private = VHOST_USER.replace("discard='yes'", "").replace("memAccess='shared'", "memAccess='private'")
    assert graft_domain(huge, private).count("memAccess='shared'") == 2
    assert "<latency initiator='0' target='1'" in graft_domain(huge, private)


def test_other_guest_cells_than_the_domains_take_their_place() -> None:
    one = guest(cell(0, 0, {0: "0", 1: "36", 2: "1", 3: "37"}, memory_kib=4 << 20), emulator="0")
    after = graft_domain(one, VHOST_USER)
    assert "<cell id='0' cpus='0-3' memory='4194304' unit='KiB'/>" in after
    assert "interconnects" not in after.split("</metadata>")[1]
    assert strip_domain(after) == VHOST_USER


def test_a_lone_carriage_return_changes_no_other_line() -> None:
    text = UGLY.replace("<!-- kept by hand; ask Ann -->\n", "<!-- kept by hand; ask Ann -->\r\n")
    after = graft_domain(PLACED, text)
    assert after.count("\r") == 1
    assert strip_domain(after) == text


def test_new_controllers_take_free_indexes() -> None:
    after = graft_domain(PLACED, UGLY)
    assert "<controller type='pci' index='10' model='pcie-expander-bus'>" in after


def test_a_machine_without_pcie_gets_its_devices_on_the_root_bus() -> None:
    after = graft_domain(PLACED, UGLY.replace("pc-q35-7.2", "pc-i440fx-7.2"))
    assert "pcie-expander-bus" not in after
    assert after.count("<hostdev ") == 5


def test_a_device_that_is_there_already_keeps_its_address() -> None:
    mine = "<hostdev mode='subsystem' type='pci'><source><address bus='0x3b' slot='0' function='0'/></source></hostdev>"
    after = graft_domain(PLACED, UGLY.replace("</devices>", mine + "</devices>"))
    assert mine in after
    assert after.count("<hostdev ") == 5


def test_a_document_on_one_line_stays_on_one_line() -> None:
    flat = "<domain type='kvm'><name>a</name><memory>4194304</memory><vcpu>4</vcpu></domain>"
    after = graft_domain(PLACED, flat)
    assert "\n" not in after.replace("\\n", "")
    assert strip_domain(after) == flat


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (">4</vcpu>", ">8</vcpu>", "the domain has 8 vCPUs, the placement 4"),
        ("'GiB'>4", "'GiB'>5", "the domain has 5 GiB, the placement 4 GiB"),
        (">4</vcpu>", ">four</vcpu>", "<vcpu>: found 'four'"),
    ],
)
def test_a_placement_for_another_guest_is_refused(old: str, new: str, why: str) -> None:
    with pytest.raises(BadInput, match=r"ugly\.xml") as caught:
        graft_domain(PLACED, UGLY.replace(old, new), source="ugly.xml")
    assert why in str(caught.value)


def test_there_is_nothing_to_take_out_of_a_foreign_domain() -> None:
    with pytest.raises(BadInput, match="no placement of ours"):
        strip_domain(UGLY)


@pytest.mark.parametrize("name", ["", " 3 ", "no[section"])
def test_metadata_that_names_no_section_changes_none(name: str) -> None:
    once = graft_domain(PLACED, UGLY)
    assert '<cellwright:added section="memoryBacking"/>' in once
    damaged = once.replace('<cellwright:added section="memoryBacking"/>', f'<cellwright:added section="{name}"/>')
    assert "<cputune><!-- old pins -->" in strip_domain(damaged)


def test_a_section_whose_text_before_is_lost_is_named() -> None:
    once = graft_domain(PLACED, UGLY)
    start = once.index('<cellwright:displaced section="cputune">') + len('<cellwright:displaced section="cputune">')
    damaged = once[:start] + " 3 " + once[once.index("</cellwright:displaced>", start) :]
    with pytest.raises(BadInput, match=r"^db-1: ' 3 ' is no element"):
        strip_domain(damaged, source="db-1")
