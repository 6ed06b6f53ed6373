"""Every rendered document: its golden file as a whole, libvirt's own schema, and a real libvirtd that defines it."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from agent.domain.parse import parse_domain
from agent.domain.render import render_domain, strip_domain
from agent.domain.sections import OWNED
from agent.domain.templates import TEMPLATES
from tests.domain.cases import CASES as HAND_MADE
from tests.domain.cases import Case, renamed
from tests.domain.placed import PLACED

CASES = {**HAND_MADE, **PLACED}
GOLDEN = Path(__file__).parent / "golden"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


def rendered(case: Case) -> str:
    return render_domain(
        case.placement,
        template=case.template,
        virt_type=case.virt_type,
        disk=case.disk,
        owner="team-a",
        created_at="2026-01-01T00:00:00Z",
    )


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    assert SCHEMA.is_file(), f"{SCHEMA} is missing; it comes with the Debian package libvirt0"
    return etree.RelaxNG(file=str(SCHEMA))


@pytest.mark.parametrize("name", CASES)
def test_document_is_the_golden_one(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.xml", rendered(CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_document_is_valid_and_gives_the_placement_back(name: str, schema: etree.RelaxNG) -> None:
    case = CASES[name]
    text = rendered(case)
    schema.assertValid(etree.ElementTree(etree.fromstring(text)))
    assert parse_domain(text) == case.placement
    schema.assertValid(etree.ElementTree(etree.fromstring(strip_domain(text))))


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_every_template_and_every_element_we_own_is_in_some_golden_file() -> None:
    trees = [etree.parse(path).getroot() for path in GOLDEN.iterdir()]
    assert {case.template for case in CASES.values()} == set(TEMPLATES)
    seen = Counter(node.tag for root in trees for node in root.iter() if isinstance(node.tag, str))
    sections = {
        *OWNED,
        *("shares", "period", "quota", "vcpupin", "emulatorpin", "iothreadpin"),
        *("vcpusched", "iothreadsched", "emulatorsched", "cachetune", "memorytune"),
        *("memnode", "hugepages", "page", "nosharepages", "locked", "source", "access"),
        *("topology", "cache", "numa", "cell", "distances", "sibling", "pmu", "hostdev", "controller"),
    }
    assert {tag for tag in sections if not seen[tag]} == set()
    modes = {node.get("mode") for root in trees for node in root.iterfind("numatune/memory")}
    assert modes == {"strict", "preferred", "restrictive", "interleave"}


def test_libvirt_defines_every_document_and_keeps_what_it_says(libvirt_uri: str, tmp_path: Path) -> None:
    """One test for all: libvirtd probes QEMU once, and that takes seconds."""
    virsh = ["virsh", "-q", "-c", libvirt_uri]
    capabilities = subprocess.run([*virsh, "domcapabilities", "--virttype", "kvm"], capture_output=True, check=False)
    for name, case in CASES.items():
        if case.virt_type == "kvm" and capabilities.returncode:
            continue  # a libvirtd without /dev/kvm refuses the type; the schema has checked the document
        guest = f"cw-golden-{os.getpid()}-{name}"
        placement = renamed(case.placement, guest)
        path = tmp_path / f"{name}.xml"
        path.write_text(render_domain(placement, template=case.template, virt_type=case.virt_type, disk=case.disk))
        done = subprocess.run([*virsh, "define", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        try:
            kept = subprocess.run([*virsh, "dumpxml", guest], capture_output=True, text=True, check=True).stdout
        finally:
            subprocess.run([*virsh, "undefine", guest], check=True)
        assert parse_domain(kept) == placement, name
        stripped = strip_domain(kept)
        assert "cellwright" not in stripped.replace(guest, ""), name
        assert parse_domain(stripped).cells == (), name
