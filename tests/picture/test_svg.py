"""The SVG: golden for two named hosts, and what must be in the picture of any host."""

import xml.etree.ElementTree as ET
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, Core, Device, HostTopology, PagePool
from agent.inspection.synthetic import parse_synthetic
from agent.picture.svg import render_svg
from tests.hosts import NAMED, host

SVG = "{http://www.w3.org/2000/svg}"
BIG = parse_synthetic("socket:2 cell:4 l3:4 core:8 thread:2 name:big")


def words(picture: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(picture).iter(f"{SVG}text")]


def titles(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}title")]


def dressed() -> HostTopology:
    """osdev-split with devices, isolated and offline pCPUs."""
    split = host("osdev-split")
    devices = (
        Device("net", "eno1", pci="0000:3b:00.0"),
        Device("net", "", pci="0000:3b:02.0", physical_function="0000:3b:00.0"),
        Device("net", "", pci="0000:3b:02.1", physical_function="0000:3b:00.0"),
        Device("storage", "nvme0n1", pci="0000:5e:00.0"),
        Device("other", "", pci="0000:00:1f.0"),
    )
    return msgspec.structs.replace(
        split,
        isolated=CpuSet.parse("4-17"),
        offline=CpuSet.parse("72-73"),
        cells=(msgspec.structs.replace(split.cells[0], devices=devices), split.cells[1]),
        unplaced_devices=(Device("gpu", "", pci="0000:41:00.0", vendor="10de", product="20f1"),),
    )


def test_golden_tiny(golden: Callable[[str, str], None]) -> None:
    golden("tiny.svg", render_svg(host("tiny")))


def test_golden_with_everything_in_it(golden: Callable[[str, str], None]) -> None:
    guests = {"db-1": CpuSet.parse("4-7,40-43"), "web": CpuSet.parse("0-3,36-39")}
    golden("osdev-split.svg", render_svg(dressed(), guests))


@pytest.mark.parametrize("name", NAMED)
def test_every_pcpu_is_drawn_once_and_every_cell_is_named(name: str) -> None:
    shown = host(name)
    drawn = [title.split(",")[0] for title in titles(render_svg(shown)) if title.startswith("pCPU ")]
    assert sorted(drawn) == sorted(f"pCPU {cpu}" for cpu in shown.online)
    labels = words(render_svg(shown))
    assert all(f"cell {cell.id}{len(cell.cpus)} pCPUs" in labels for cell in shown.cells)


@pytest.mark.parametrize(("shown", "widest"), [(host("tiny"), 560), (host("osdev-01"), 1100), (BIG, 2000)])
def test_pictures_of_4_72_and_512_pcpus_are_wider_than_high_and_fit_a_screen(shown: HostTopology, widest: int) -> None:
    root = ET.fromstring(render_svg(shown))
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    assert height < width <= widest
    assert min(float(text.attrib["font-size"]) for text in root.iter(f"{SVG}text")) >= 10


def test_kinds_are_told_apart_without_colour() -> None:
    root = ET.fromstring(render_svg(dressed()))
    boxes = {
        group.findtext(f"{SVG}title", ""): group
        for group in root.iter(f"{SVG}g")
        if group.findtext(f"{SVG}title", "").startswith("pCPU ")
    }
    marks = {
        title: [(part.tag[len(SVG) :], part.attrib.get("class")) for part in box][1:] for title, box in boxes.items()
    }
    assert marks["pCPU 4, dedicated, isolated, core 4 of socket 0"][:2] == [("rect", "dedicated"), ("path", "corner")]
    assert marks["pCPU 0, shared, core 0 of socket 0"][0] == ("rect", "shared")
    assert marks["pCPU 72, offline"][:2] == [("rect", "offline"), ("path", "cross")]
    legend = words(render_svg(dressed()))
    assert "shared: floating guests" in legend
    assert "not for guests" not in legend, "the legend has only what occurs"


def test_virtual_functions_are_counted_and_unknown_cells_are_a_place_of_their_own() -> None:
    shown = words(render_svg(dressed()))
    assert "eno1 + 2 VFs" in shown
    assert "1 other" in shown
    assert "0000:41:00.0" in shown
    assert "devices of unknown cell" in shown


def test_floating_guests_hide_no_pinned_one() -> None:
    shared = CpuSet.parse("0-3")
    picture = render_svg(
        host("tiny"), {"db": CpuSet.parse("2")}, floating={f"web-{n}": shared for n in range(8)} | {"x": CpuSet([1])}
    )
    shown = words(picture)
    assert shown.count("A") == 1, "the pinned guest's pCPU alone has a letter"
    assert "web-0, web-1, web-2, web-3, web-4, web-5 and 2 more: floating over 0-3" in shown
    assert "x: floating over 1" in shown


def test_guests_are_letters_on_their_pcpus_and_many_on_one_are_counted() -> None:
    guests = {f"g{number}": CpuSet.parse("0-1") for number in range(4)} | {"alone": CpuSet.parse("3")}
    picture = render_svg(host("tiny"), guests)
    assert words(picture).count("4×") == 2
    assert words(picture).count("A") == 1
    assert "A  alone: 3" in words(picture)


def test_many_cells_have_their_distances_in_words() -> None:
    shown = parse_synthetic("socket:32 cell:1 core:2 distance:40")
    assert words(render_svg(shown)).count("distances 10 × 1, 40 × 31") == 32


def test_cells_without_cpus_without_memory_and_cores_of_two_sockets_in_one_cell() -> None:
    cores = (Core(0, 0, 0, CpuSet([0])), Core(1, 0, 0, CpuSet([1]), kind="efficiency"))
    odd = HostTopology(
        hostname="odd",
        online=CpuSet.parse("0-2"),
        cells=(Cell(0, CpuSet.parse("0-2"), 0, cores=cores), Cell(8, CpuSet(), 1 << 20, 1 << 19), Cell(9, CpuSet())),
    )
    shown = words(render_svg(odd))
    assert {"no memory", "memory not known", "efficiency core", "cell 8no pCPUs", "socket 1"} <= set(shown)


def test_huge_pages_are_shown_where_memory_is_unknown() -> None:
    cell = Cell(0, CpuSet([0]), pages=(PagePool(2048, 8, 3),), cores=(Core(0, 0, 0, CpuSet([0])),))
    shown = words(render_svg(HostTopology(hostname="odd", online=CpuSet([0]), cells=(cell,))))
    assert {"memory not known", "8 pages of 2 MiB, 3 free"} <= set(shown)


@given(st.text(), st.text())
def test_any_name_gives_xml(name: str, guest: str) -> None:
    named = msgspec.structs.replace(host("tiny"), hostname=name)
    root = ET.fromstring(render_svg(named, {guest: CpuSet([1])}).encode("utf-8"))
    assert root.attrib["role"] == "img"
    assert root.find(f"{SVG}desc") is not None
