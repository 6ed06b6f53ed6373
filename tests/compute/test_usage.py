"""What running guests hold on the 2 × 18 × 2 host: siblings i and i+36, cell 0 is 0-17,36-53."""

import msgspec
import pytest

from agent.compute.fits_here import check_placement
from agent.compute.usage import Claimant, claimant_of, find_overlaps, sum_usage
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import Misfit, Placement
from agent.core.request import Flavor, Request
from agent.core.usage import CellUsage, PageUse, Usage
from agent.domain.render import render_domain
from agent.placement import place
from tests.compute.guests import tiny_xml
from tests.hosts import host

HOST = host("osdev-01")


def foreign(name: str, extra: str, *, vcpus: int = 2) -> Claimant:
    return claimant_of(name, tiny_xml(name, vcpus=vcpus, extra=extra), HOST)


def pins(*cpus: str, numatune: str = "") -> str:
    rows = "".join(f"<vcpupin vcpu='{vcpu}' cpuset='{mask}'/>" for vcpu, mask in enumerate(cpus))
    return f"<cputune>{rows}</cputune>{numatune}"


def ours(**specs: str) -> Placement:
    extra = {key.replace("__", ":"): value for key, value in specs.items()}
    answer = place(HOST, Usage(), Request(Flavor(vcpus=4, ram_mb=1024, extra_specs=extra), name="ours"))
    assert isinstance(answer, Placement)
    return answer


@pytest.mark.parametrize(
    ("says", "extra", "held"),
    [
        ("a guest that pins nothing floats and holds no pCPU", "", {}),
        ("a vCPU on one pCPU owns it", pins("3", "39"), {0: ("3,39", 0)}),
        ("a vCPU on a few pCPUs holds them all", pins("18-19", "18-19"), {1: ("18-19", 2)}),
        ("a mask as wide as its cell floats there", pins("0-17,36-53", "0-17,36-53"), {0: ("", 2)}),
        (
            "memory counts where memnode puts it, whatever the pins say",
            pins("3", "4", numatune="<numatune><memory mode='strict' nodeset='1'/></numatune>"),
            {1: ("3-4", 0)},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_a_foreign_guest_holds(says: str, extra: str, held: dict[int, tuple[str, int]]) -> None:
    usage = sum_usage([foreign("theirs", extra)])
    assert {cell.id: (str(cell.pinned), cell.floating_vcpus) for cell in usage.cells} == held
    assert all(cell.memory_kib == 65536 for cell in usage.cells)


def test_a_guest_of_ours_holds_its_placement_with_the_siblings_that_it_keeps_idle() -> None:
    placement = ours(hw__cpu_policy="dedicated", hw__cpu_thread_policy="isolate")
    claimant = claimant_of("ours", render_domain(placement, template="tiny", virt_type="qemu"), HOST)
    assert not claimant.foreign
    (cell,) = sum_usage([claimant]).cells
    assert len(cell.pinned) == 8
    assert cell.pages == (PageUse(4, 1024 * 1024 // 4),)


def test_a_guest_of_ours_that_somebody_pinned_elsewhere_holds_where_it_is_now() -> None:
    xml = render_domain(ours(hw__cpu_policy="dedicated"), template="tiny", virt_type="qemu")
    moved = xml.replace("<vcpupin vcpu='0' cpuset='0'/>", "<vcpupin vcpu='0' cpuset='17'/>")
    moved = moved.replace('<vcpupin vcpu="0" cpuset="0"/>', '<vcpupin vcpu="0" cpuset="17"/>')
    assert moved != xml
    assert 17 in sum_usage([claimant_of("ours", moved, HOST)]).cells[0].pinned


def test_a_pcpu_that_two_guests_own_counts_once_and_is_reported() -> None:
    both = [foreign("a", pins("40", "41")), foreign("b", pins("40", "42"))]
    assert sum_usage(both).cells[0].pinned == CpuSet([40, 41, 42])
    (finding,) = find_overlaps("a", CpuSet([40, 41]), both)
    assert finding.message == "pCPU 40 is owned by two guests: a and b"


def test_a_narrow_mask_inside_the_operators_shared_set_is_floating() -> None:
    split = host("osdev-split")
    claimant = claimant_of("theirs", tiny_xml("theirs", extra=pins("0-3", "0-3")), split)
    assert sum_usage([claimant]).cells == (
        CellUsage(id=0, floating_vcpus=2, memory_kib=65536, pages=(PageUse(4, 16384),)),
    )


def test_the_next_guest_is_placed_beside_them() -> None:
    request = Request(Flavor(vcpus=34, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"}))
    answer = place(HOST, sum_usage([foreign("theirs", pins("0", "36"))]), request)
    assert isinstance(answer, Placement)
    assert not answer.owned() & CpuSet([0, 36])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "elsewhere"}, "made for host 'elsewhere', this is 'osdev-01'"),
        ({"emulator": CpuSet([72])}, "pCPUs 72 are not online on this host; online: 0-71"),
        ({"iothreads": {1: CpuSet([99])}}, "pCPUs 99 are not online"),
    ],
)
def test_a_placement_that_means_nothing_here_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_placement(msgspec.structs.replace(ours(hw__cpu_policy="dedicated"), **changes), HOST, [])


def test_a_placement_whose_pcpus_were_given_away_since_does_not_fit() -> None:
    placement = ours(hw__cpu_policy="dedicated")
    taken = str(placement.owned().first())
    answer = check_placement(placement, HOST, [foreign("theirs", pins(taken, "17"))])
    assert isinstance(answer, Misfit)
    assert answer.misfits[0].message == f"pCPU {taken} is owned by two guests: ours and theirs"
