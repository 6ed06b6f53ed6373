"""Which of several possible answers: tables on named hosts, one sentence a row."""

from random import Random

import msgspec
import pytest

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.policy import PackingPolicy
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, Limits, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.matching import find_violators
from tests.hosts import host


def request(vcpus: int, ram_mb: int = 512, **specs: str) -> Request:
    keys = {("cw:" + key[3:] if key.startswith("cw_") else "hw:" + key): value for key, value in specs.items()}
    return Request(Flavor(vcpus, ram_mb, extra_specs={"hw:cpu_policy": "dedicated"} | keys), name="g")


def used(**pinned: str) -> Usage:
    return Usage(tuple(CellUsage(int(cell[1:]), CpuSet.parse(text)) for cell, text in pinned.items()))


def put(
    where: HostTopology, wanted: Request, usage: Usage | None = None, limits: Limits | None = None, **guests: CpuSet
) -> Placement:
    answer = place(where, usage or Usage(), wanted, limits, guests=guests)
    assert isinstance(answer, Placement), answer
    return answer


def pins(answer: Placement) -> CpuSet:
    return CpuSet(cpu for cell in answer.cells for cpus in cell.pins.values() for cpu in cpus)


def cells(answer: Placement) -> list[int]:
    return [cell.host_cell for cell in answer.cells]


@pytest.mark.parametrize(
    ("sentence", "pinned", "vcpus", "expected"),
    [
        ("an empty cell gives whole cores", "", 4, "0-1,36-37"),
        ("a single vCPU goes beside another guest's, not into a whole core", "0", 1, "36"),
        ("an odd guest takes whole cores and one broken one", "5", 3, "0,36,41"),
        ("6 whole and 4 half cores hold 16 vCPUs without breaking any", "0-11,36-43", 16, "12-17,44-53"),
    ],
)
def test_whole_cores_stay_whole(sentence: str, pinned: str, vcpus: int, expected: str) -> None:
    answer = put(host("osdev-01"), request(vcpus), used(c0=pinned, c1="18-35,54-71"))
    assert str(pins(answer)) == expected, sentence


@pytest.mark.parametrize(
    ("sentence", "pinned", "vcpus", "groups"),
    [
        ("what fits one L3 group stays in one", "", 8, 1),
        ("the tightest group that holds it", "0-1,32-33", 4, 1),
        ("no more groups than needed", "", 12, 2),
    ],
)
def test_l3_groups(sentence: str, pinned: str, vcpus: int, groups: int) -> None:
    ccx = host("ccx")
    answer = put(ccx, request(vcpus), used(c0=pinned))
    touched = [cache for cell in ccx.cells for cache in cell.caches if cache.cpus & pins(answer)]
    assert len(touched) == groups, sentence
    if pinned:
        assert pins(answer) == CpuSet.parse("2-3,34-35")


def test_cells_of_a_guest_are_the_closest() -> None:
    answer = put(host("eight-cells"), request(8, numa_nodes="4"), used(c0="0-15,128-143"))
    assert cells(answer) == [4, 5, 6, 7], "three cells of the first socket are left: the second has four"


def test_small_guests_leave_untouched_pairs_of_cells_alone() -> None:
    four = parse_synthetic("socket:2 cell:2 core:4 thread:2 distance:10/12/32/32,12/10/32/32,32/32/10/12,32/32/12/10")
    assert cells(put(four, request(2), used(c2="8"))) == [2]


def test_guests_without_devices_stay_off_device_cells_and_others_go_there() -> None:
    plain = host("no-smt")
    gpu = Device("gpu", "g0", pci="0000:3b:00.0")
    first = msgspec.structs.replace(plain.cells[0], devices=(gpu,))
    with_gpu = msgspec.structs.replace(plain, cells=(first, plain.cells[1]))
    assert cells(put(with_gpu, request(2))) == [1]
    wants = Request(Flavor(2, 64, extra_specs={"hw:cpu_policy": "dedicated", "pci_passthrough:alias": "gpu:1"}))
    answer = put(with_gpu, wants)
    assert (cells(answer), answer.devices[0].pci) == ([0], gpu.pci)
    assert not place(with_gpu, claim(Usage(), answer), wants).fits, "the device is taken"


@pytest.mark.parametrize(
    ("packing", "cell"), [(PackingPolicy.PACK, 0), (PackingPolicy.BALANCED, 0), (PackingPolicy.SPREAD, 1)]
)
def test_the_operator_says_how_cells_fill(packing: PackingPolicy, cell: int) -> None:
    assert cells(put(host("osdev-01"), request(4), used(c0="0-3,36-39"), Limits(packing=packing))) == [cell]


def test_isolate_on_split_sets_leaves_siblings_idle_for_the_operator_only() -> None:
    split = host("osdev-split")
    answer = put(split, request(4, cpu_thread_policy="isolate"))
    assert len(answer.reserved) == 4
    assert pins(answer) | answer.reserved <= split.dedicated()
    image = msgspec.structs.replace(request(4).image, properties={"hw_cpu_thread_policy": "isolate"})
    answer_to_image = place(split, Usage(), msgspec.structs.replace(request(4), image=image))
    assert not answer_to_image.fits
    assert answer_to_image.misfits[0].code == "host-has-smt"


def test_isolate_takes_a_core_of_one_thread_among_cores_of_two() -> None:
    plain = parse_synthetic("core:2 thread:2 numbering:near memory:1GiB name:lost-a-thread")
    (cell,) = plain.cells
    first, second = cell.cores
    lone = msgspec.structs.replace(second, cpus=CpuSet.parse("2"))
    cell = msgspec.structs.replace(cell, cpus=CpuSet.parse("0-2"), cores=(first, lone))
    lost = msgspec.structs.replace(plain, online=CpuSet.parse("0-2"), cells=(cell,))
    answer = put(lost, request(2, cpu_thread_policy="isolate"))
    assert (str(pins(answer)), str(answer.reserved)) == ("0,2", "1")


def test_our_own_wishes() -> None:
    osdev, ccx = host("osdev-01"), host("ccx")
    assert cells(put(osdev, request(4, numa_nodes="2", cw_host_cells="1,0"))) == [1, 0]
    assert len(put(osdev, request(36, cw_numa_nodes="auto")).cells) == 1
    assert len(put(osdev, request(37, cw_numa_nodes="auto")).cells) == 2
    neighbour = CpuSet.parse("0-1")
    assert pins(put(ccx, request(2, cw_l3="same:db"), used(c0="0-1"), db=neighbour)) <= CpuSet.parse("0-3,32-35")
    assert pins(put(ccx, request(2, cw_l3="other:db"), db=neighbour)).isdisjoint(CpuSet.parse("0-3,32-35"))
    assert not place(ccx, Usage(), request(10, cw_l3="one")).fits
    threads = put(osdev, request(2, cw_iothreads="2", cw_iothread_cpus="dedicated"))
    assert threads.reserved == threads.iothreads[1] | threads.iothreads[2]
    assert put(osdev, request(4, cw_guest_topology="flat")).cpu_topology.threads == 1


@pytest.mark.parametrize(
    ("sentence", "wish", "neighbour", "taken", "vcpus", "expected"),
    [
        ("a whole core in the group that the other has", "same:db", "0-1", "0-1", 2, "2,34"),
        ("all that is left of it", "same:db", "0-1", "0-1", 6, "2-3,32-35"),
        ("and no more than that", "same:db", "0-1", "0-1", 7, None),
        ("in any of several groups that the other spans", "same:db", "0,4", "0,4", 12, "1-3,5-7,33-35,37-39"),
        ("one guest's groups, not its neighbour's", "same:db", "16-17", "0-3,32-35", 4, "16-17,48-49"),
        ("out of the group that the other has", "other:db", "0-1", "0-1", 2, "4,36"),
        ("though that group alone is broken already", "other:db", "0", "0", 1, "4"),
        ("in what is left, however many groups", "other:db", "0", "0", 24, "4-15,36-47"),
        ("the other cell is another group too", "other:db", "0-15,32-47", "0-15,32-47", 2, "16,48"),
        ("out of nobody's groups while the other is not here", "other:gone", "0-1", "", 2, "0,32"),
        ("no group of a guest that is not here", "same:gone", "0-1", "", 2, None),
    ],
)
def test_l3_groups_of_another_guest(
    sentence: str, wish: str, neighbour: str, taken: str, vcpus: int, expected: str | None
) -> None:
    """Two cells of four groups: 0-3,32-35 is the first, 16-19,48-51 the first of cell 1."""
    ccx, owned = host("ccx"), CpuSet.parse(taken)
    usage = Usage(tuple(CellUsage(cell.id, owned & cell.cpus) for cell in ccx.cells))
    answer = place(ccx, usage, request(vcpus, cw_l3=wish), guests={"db": CpuSet.parse(neighbour)})
    assert (str(pins(answer)) if isinstance(answer, Placement) else None) == expected, sentence


def test_the_emulator_keeps_off_real_time_vcpus_though_others_float_over_their_pcpus() -> None:
    """Without sets a mixed guest's floating vCPUs share every pCPU of the cell with its dedicated ones."""
    specs = {"hw:cpu_policy": "mixed", "hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"}
    answer = put(host("tiny"), Request(Flavor(2, 256, extra_specs=specs), name="g"))
    (cell,) = answer.cells
    assert cell.pins[1] <= cell.pins[0]
    assert answer.emulator == cell.pins[0] - cell.pins[1]


def test_the_order_of_the_input_does_not_matter() -> None:
    eight = host("eight-cells")
    wanted = request(12, 768, numa_nodes="3", cpu_thread_policy="require")
    usage = used(c1="16-20", c3="48,176", c6="96-110")
    expected = put(eight, wanted, usage)
    shuffle = Random(7).shuffle
    for _ in range(5):
        mixed = list(eight.cells)
        shuffle(mixed)
        mixed = [msgspec.structs.replace(cell, cores=cell.cores[::-1], caches=cell.caches[::-1]) for cell in mixed]
        other = msgspec.structs.replace(eight, cells=tuple(mixed))
        assert put(other, wanted, Usage(usage.cells[::-1])) == expected


def test_claims_come_back_in_any_order_and_only_once() -> None:
    osdev = host("osdev-01")
    start = usage = used(c0="0,36")
    answers = []
    for wanted in (request(4), request(6, numa_nodes="2"), request(3, cpu_thread_policy="isolate"), request(5)):
        answers.append(put(osdev, wanted, usage))
        usage = claim(usage, answers[-1])
    for answer in (answers[2], answers[0], answers[3], answers[1]):
        usage = release(usage, answer)
    assert usage == start
    with pytest.raises(BadInput, match="not held"):
        release(usage, answers[0])
    with pytest.raises(BadInput, match="another guest"):
        claim(claim(usage, answers[0]), answers[0])


def test_a_failed_matching_names_the_guest_cells_that_compete() -> None:
    assert find_violators([0b11, 0b11, 0b100]) == ()
    assert find_violators([0b11, 0b11, 0b1000, 0b01]) == (0, 1, 3)


@pytest.mark.parametrize(
    ("sentence", "fast", "vcpus", "prefer", "expected"),
    [
        ("nobody asks: slow cores are as good", "4-7", 4, False, "0-3"),
        ("who asks gets fast ones", "4-7", 4, True, "4-7"),
        ("too few fast cores: any will do", "4-7", 6, True, "0-5"),
    ],
)
def test_fast_cores_when_asked(sentence: str, fast: str, vcpus: int, prefer: bool, expected: str) -> None:
    plain = parse_synthetic("core:8 memory:8GiB name:hybrid")
    (cell,) = plain.cells
    cores = tuple(
        msgspec.structs.replace(core, kind="performance" if core.cpus <= CpuSet.parse(fast) else "efficiency")
        for core in cell.cores
    )
    hybrid = msgspec.structs.replace(plain, cells=(msgspec.structs.replace(cell, cores=cores),))
    wanted = request(vcpus, cw_prefer_cores="fast") if prefer else request(vcpus)
    assert str(pins(put(hybrid, wanted))) == expected, sentence


def test_one_l3_group_is_a_must_and_fast_cores_are_a_wish() -> None:
    """Two L3 groups of four pCPUs, two of each fast: four fast pCPUs are of no one group."""
    plain = parse_synthetic("l3:2 core:4 memory:8GiB name:hybrid")
    (cell,) = plain.cells
    fast = CpuSet.parse("2-5")
    cores = tuple(msgspec.structs.replace(core, kind="performance" * (core.cpus <= fast)) for core in cell.cores)
    hybrid = msgspec.structs.replace(plain, cells=(msgspec.structs.replace(cell, cores=cores),))
    assert str(pins(put(hybrid, request(4, cw_prefer_cores="fast", cw_l3="one")))) == "0-3"
    assert str(pins(put(hybrid, request(2, cw_prefer_cores="fast", cw_l3="one")))) == "2-3"


def test_an_owned_pcpu_is_nobody_elses_whichever_cell_it_was_booked_on() -> None:
    """pCPU 8 is of cell 1 now, and was of cell 0 when its guest was placed."""
    booked = Usage((CellUsage(0, CpuSet.parse("0-3,8")), CellUsage(1, CpuSet.parse("9-11"))))
    assert str(pins(put(host("no-smt"), request(2, cw_host_cells="1"), booked))) == "12-13"
