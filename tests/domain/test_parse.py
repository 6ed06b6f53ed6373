"""Foreign domains: what do they claim?"""

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import CpuTopology, Placement
from agent.core.policy import CpuPolicy, MemPolicy
from agent.domain.document import parse_xml
from agent.domain.parse import parse_domain
from agent.domain.render import render_domain
from agent.domain.scalars import plugged_vcpus
from tests.domain.cases import CASES
from tests.hosts import host


def parse(body: str, **other: object) -> Placement:
    text = f"<domain type='kvm'><name>theirs</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>{body}</domain>"
    return parse_domain(text, **other)  # type: ignore[arg-type]


PINNED = "<vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='40'/>"


def test_a_domain_that_pins_nothing_floats_over_the_whole_host() -> None:
    got = parse("")
    assert (got.host, got.name, got.vcpus, got.memory_kib, got.cells) == ("", "theirs", 2, 65536, ())
    assert got.emulator == CpuSet()
    assert got.owned() == CpuSet()


def test_a_cpuset_on_vcpu_is_where_it_floats() -> None:
    text = "<domain><name>a</name><memory>1024</memory><vcpu cpuset='0-7,^3'>3</vcpu><iothreads>1</iothreads></domain>"
    got = parse_domain(text)
    assert (got.cells, got.emulator, got.iothreads) == ((), CpuSet.parse("0-2,4-7"), {1: CpuSet.parse("0-2,4-7")})


def test_hand_written_pins_make_one_guest_cell_that_owns_them() -> None:
    got = parse(f"<cputune>{PINNED}<emulatorpin cpuset='0-1'/></cputune>")
    (only,) = got.cells
    assert (only.guest_cell, only.policy, only.memory_kib) == (0, CpuPolicy.DEDICATED, 65536)
    assert only.pins == {0: CpuSet([4]), 1: CpuSet([40])}
    assert got.owned() == CpuSet([4, 40])
    assert got.emulator == CpuSet([0, 1])


@pytest.mark.parametrize(
    ("body", "cell"),
    [
        (f"<cputune>{PINNED}</cputune>", 0),
        (f"<cputune>{PINNED.replace('4', '5')}</cputune>", 0),
        ("<cputune><vcpupin vcpu='0' cpuset='18'/><vcpupin vcpu='1' cpuset='54'/></cputune>", 1),
        ("<cputune><vcpupin vcpu='0' cpuset='18'/></cputune>", 1),
        (f"<cputune>{PINNED}</cputune><numatune><memory nodeset='1'/></numatune>", 1),
        (f"<cputune>{PINNED}</cputune><numatune><memory nodeset='1-3'/></numatune>", 0),
    ],
)
def test_the_host_cell_is_where_memory_is_bound_or_else_where_most_pins_lie(body: str, cell: int) -> None:
    assert [each.host_cell for each in parse(body, host=host("osdev-01")).cells] == [cell]


def test_some_pins_are_ranges() -> None:
    got = parse("<cputune><vcpupin vcpu='0' cpuset='4'/><vcpupin vcpu='1' cpuset='8-11,^9'/></cputune>")
    assert got.cells[0].policy is CpuPolicy.MIXED
    assert got.cells[0].pins[1] == CpuSet([8, 10, 11])
    assert got.owned() == CpuSet([4])


def test_a_vcpu_without_a_pin_floats_over_the_vcpu_cpuset() -> None:
    text = """<domain><name>a</name><memory>1024</memory><vcpu cpuset='0-3'>2</vcpu>
      <cputune><vcpupin vcpu='1' cpuset='9'/><vcpupin vcpu='7' cpuset='1'/></cputune></domain>"""
    (only,) = parse_domain(text).cells
    assert only.pins == {0: CpuSet.parse("0-3"), 1: CpuSet([9])}


def test_memory_bound_to_one_cell_is_a_claim_on_it_without_pins() -> None:
    got = parse("<numatune><memory mode='preferred' nodeset='1'/></numatune>")
    assert [(each.host_cell, each.policy) for each in got.cells] == [(1, CpuPolicy.SHARED)]
    assert got.mempolicy is MemPolicy.PREFERRED


def test_memory_over_several_cells_binds_nothing() -> None:
    assert parse("<numatune><memory mode='interleave' nodeset='0-1'/></numatune>").cells == ()


def test_as_nova_writes_a_guest_of_two_cells_with_huge_pages() -> None:
    got = parse_domain("""<domain type="kvm">
      <name>instance-00000007</name><memory>2097152</memory><vcpu>4</vcpu>
      <metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata>
      <memoryBacking><hugepages><page size="2048" nodeset="0" unit="KiB"/><page size="1048576" nodeset="1" unit="KiB"/>
      </hugepages><nosharepages/><locked/></memoryBacking>
      <cputune><emulatorpin cpuset="0-1"/>
        <vcpupin vcpu="0" cpuset="0"/><vcpupin vcpu="1" cpuset="36"/>
        <vcpupin vcpu="2" cpuset="18"/><vcpupin vcpu="3" cpuset="54"/>
        <vcpusched vcpus="2-3" scheduler="fifo" priority="1"/></cputune>
      <numatune><memory mode="strict" nodeset="0-1"/>
        <memnode cellid="0" mode="strict" nodeset="1"/><memnode cellid="1" mode="strict" nodeset="0"/></numatune>
      <cpu><topology sockets="4" cores="1" threads="1"/>
        <numa><cell id="0" cpus="0-1" memory="1048576" memAccess="shared"/>
        <cell id="1" cpus="2-3" memory="1" unit="GiB"/>
        </numa></cpu></domain>""")
    assert [(c.guest_cell, c.host_cell, c.memory_kib, c.page_kib) for c in got.cells] == [
        (0, 1, 1048576, 2048),
        (1, 0, 1048576, 1048576),
    ]
    assert (got.realtime, got.locked, got.mempolicy) == (CpuSet([2, 3]), True, MemPolicy.STRICT)
    assert got.cpu_topology == CpuTopology(4, 1, 1)


@pytest.mark.parametrize(
    ("body", "plugged"),
    [
        ("<vcpu>4</vcpu>", "0-3"),
        ("<vcpu current='1'>4</vcpu>", "0"),
        ("<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='yes'/></vcpus>", "0-1"),
        (
            "<vcpu current='2'>3</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='no'/>"
            "<vcpu id='2' enabled='yes'/></vcpus>",
            "0,2",
        ),
        ("", "0"),
    ],
)
def test_the_vcpus_that_a_guest_has_now(body: str, plugged: str) -> None:
    assert str(plugged_vcpus(parse_xml(f"<domain>{body}</domain>"), source="domain g")) == plugged


def test_huge_pages_without_a_size_are_the_usual_ones() -> None:
    backing = "<memoryBacking><hugepages/></memoryBacking><numatune><memory nodeset='0'/></numatune>"
    assert parse(backing).cells[0].page_kib == 2048
    assert parse(backing, host=host("huge-pages")).cells[0].page_kib == 2048


@pytest.mark.parametrize(
    ("size", "kib"), [("b'>4096", 4), ("KiB'>8", 8), ("KB'>1000", 977), ("GiB'>1", 1 << 20), ("m'>2", 2048)]
)
def test_memory_in_every_unit_of_libvirt(size: str, kib: int) -> None:
    text = (
        f"<domain><memory unit='{size}</memory></domain>"
        if size[0] not in "1"
        else "<domain><memory>1</memory></domain>"
    )
    assert parse_domain(text).memory_kib == kib


def test_ours_after_somebody_moved_a_pin_by_hand_claims_what_libvirt_will_do() -> None:
    case = CASES["isolate"]
    text = render_domain(case.placement).replace('<vcpupin vcpu="0" cpuset="18"/>', '<vcpupin vcpu="0" cpuset="30"/>')
    got = parse_domain(text)
    assert got.cells[0].pins[0] == CpuSet([30])
    assert (got.host, got.flavor, got.reserved) == ("osdev-01", "machine.cpu", case.placement.reserved)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<cputune><vcpupin vcpu='0' cpuset='5-3'/></cputune>", "<vcpupin vcpu='0'>: not a CPU list: '5-3'"),
        ("<cputune><vcpupin vcpu='x' cpuset='5'/></cputune>", "<vcpupin>: found 'x'"),
        ("<cputune><vcpupin cpuset='5'/></cputune>", "<vcpupin>: found ''"),
        ("<numatune><memory mode='sometimes' nodeset='0'/></numatune>", "mode 'sometimes'; allowed: strict"),
        ("<iothreads>999999999</iothreads>", "<iothreads>: found '999999999'"),
        ("<iothreads>-1</iothreads>", "<iothreads>: found '-1'"),
        ("<cpu><topology sockets='1' cores='many' threads='1'/></cpu>", "<topology>: found 'many'"),
        ("<cputune><cachetune vcpus='0'><cache id='0' level='3' type='mine'/></cachetune></cputune>", "<cache>"),
        ("<devices><hostdev type='pci'><source><address bus='zz'/></source></hostdev></devices>", "<hostdev>"),
    ],
)
def test_nonsense_is_refused_by_element(body: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(body, source="theirs.xml")
    assert "theirs.xml" in str(caught.value)
    assert why in str(caught.value)
