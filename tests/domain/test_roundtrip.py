"""Invariants over all placements: rendering and parsing is the identity, grafting and stripping too."""

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, CpuTune, PlacedCell, PlacedDevice, Placement, Schedule, Schedules
from agent.core.policy import CpuPolicy, MemPolicy
from agent.domain.document import parse_xml
from agent.domain.parse import parse_domain, parse_elements
from agent.domain.render import graft_domain, render_domain, strip_domain
from agent.domain.templates import TEMPLATES

pcpus = st.frozensets(st.integers(0, 1023), min_size=1, max_size=8).map(CpuSet)
some_pcpus = st.frozensets(st.integers(0, 1023), max_size=8).map(CpuSet)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=12)

patient = st.sampled_from((Schedule("batch"), Schedule("idle")))
urgent = st.builds(Schedule, st.sampled_from(("fifo", "rr")), st.integers(2, 99))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    vcpus = draw(st.integers(1, 12))
    parts = draw(st.integers(0, min(4, vcpus)))
    host_cells = draw(st.permutations(range(8)))
    cells = []
    for number in range(parts):
        own = CpuSet(range(vcpus)[number::parts])
        policy = draw(st.sampled_from(CpuPolicy))
        pins = {vcpu: draw(pcpus) for vcpu in own}
        cells.append(
            PlacedCell(
                guest_cell=number,
                host_cell=host_cells[number],
                vcpus=own,
                memory_kib=draw(st.integers(1, 64)) * 2048,
                page_kib=draw(st.sampled_from([None, 4, 2048, 1048576])),
                policy=policy,
                pins=pins,
                distances=draw(st.sampled_from([{}, {other: 10 + 11 * (other != number) for other in range(parts)}])),
            )
        )
    realtime = draw(st.sampled_from([CpuSet(), CpuSet([vcpus - 1])]))
    asked = draw(st.sets(st.integers(0, vcpus - 1), max_size=3))
    return Placement(
        host=draw(words),
        name="cw-" + draw(st.text("abcxyz019.-_ü", max_size=20)),
        flavor=draw(words),
        vcpus=vcpus,
        memory_kib=sum(cell.memory_kib for cell in cells) or draw(st.integers(1, 1 << 30)),
        cells=tuple(cells),
        emulator=draw(pcpus if cells else some_pcpus),
        iothreads=draw(st.dictionaries(st.integers(1, 20), pcpus if cells else st.just(CpuSet()), max_size=3)),
        reserved=draw(some_pcpus),
        realtime=realtime,
        mempolicy=draw(st.sampled_from([None, *MemPolicy])),
        cpu_topology=CpuTopology(vcpus, 1, 1),
        tune=draw(st.builds(CpuTune, *[st.none() | st.integers(1000, 10000)] * 3)),
        schedules=Schedules(
            vcpus={vcpu: draw(urgent if vcpu in realtime else patient) for vcpu in sorted(asked)},
            iothreads=draw(st.dictionaries(st.integers(1, 20), patient | urgent, max_size=3)),
            emulator=draw(st.none() | patient | urgent),
        ),
        locked=draw(st.booleans()),
        devices=tuple(
            PlacedDevice(f"0000:{bus:02x}:00.0", draw(st.none() | st.integers(0, 8)))
            for bus in draw(st.lists(st.integers(0, 255), unique=True, max_size=3))
        ),
    )


@given(placements(), st.sampled_from(TEMPLATES), st.sampled_from(("kvm", "qemu")))
@settings(max_examples=60, deadline=None)
def test_parse_gives_back_what_was_rendered(placement: Placement, template: str, virt_type: str) -> None:
    assert parse_domain(render_domain(placement, template=template, virt_type=virt_type)) == placement


@given(placements())
@settings(max_examples=60, deadline=None)
def test_the_elements_alone_say_who_is_pinned_where(placement: Placement) -> None:
    """What usage is counted from when somebody took our metadata away."""
    root = parse_xml(render_domain(placement))
    metadata = root.find("metadata")
    assert metadata is not None
    root.remove(metadata)
    claims = parse_elements(root)
    for mine, claimed in zip(placement.cells, claims.cells, strict=True):
        assert (claimed.guest_cell, claimed.host_cell, claimed.pins) == (mine.guest_cell, mine.host_cell, mine.pins)
        assert (claimed.memory_kib, claimed.huge, claimed.distances) == (mine.memory_kib, mine.huge, mine.distances)
    assert (claims.vcpus, claims.memory_kib) == (placement.vcpus, placement.memory_kib)
    assert (claims.emulator, claims.realtime) == (placement.emulator, placement.realtime)
    assert claims.schedules.vcpus == placement.schedules.vcpus
    assert claims.schedules.emulator == placement.schedules.emulator
    assert claims.iothreads == (
        placement.iothreads if placement.cells else dict.fromkeys(placement.iothreads, claims.emulator)
    )


@given(placements(), placements())
@settings(max_examples=40, deadline=None)
def test_stripping_undoes_any_number_of_grafts_to_the_byte(first: Placement, second: Placement) -> None:
    foreign = f"""<domain type='kvm'>
  <name>it's &lt;mine&gt;</name><vcpu  current='1'>{first.vcpus}</vcpu>
  <memory unit='b'>{first.memory_kib * 1024}</memory>
\t<cputune>
    <vcpupin vcpu="0" cpuset='1-4,^3'/><global_quota>-1</global_quota> <!-- mine -->
  </cputune>
  <os><type machine='q35'>hvm</type></os>
  <features><acpi/><pmu state='on'/></features>
  <devices/>
</domain>
"""
    once = graft_domain(first, foreign)
    assert strip_domain(once) == foreign
    etree.fromstring(once)
    if (first.vcpus, first.memory_kib) == (second.vcpus, second.memory_kib):
        assert strip_domain(graft_domain(second, once)) == foreign
    assert strip_domain(graft_domain(first, once)) == foreign
