"""The emulator's pin that QEMU needs to allocate, and that it is narrowed before the guest runs."""

from collections.abc import Callable

import msgspec
import pytest

from agent.compute.create import apply_create, plan_guest
from agent.compute.driver import Driver
from agent.compute.guest_state import read_masks
from agent.compute.journal import Journal
from agent.compute.prove import verify_host
from agent.compute.start import describe_shortage, start_emulator, with_start_pin
from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy
from agent.domain.render import render_domain
from agent.inspection.synthetic import parse_synthetic
from tests.compute.placements import FIRST, SECOND, dedicated

CELLS = {0: CpuSet(range(4)), 1: CpuSet(range(4, 8))}


def on_two_cells(emulator: str) -> Placement:
    """vCPU 0 on pCPU 1 of cell 0, vCPU 1 on pCPU 5 of cell 1."""
    cells = tuple(
        PlacedCell(
            guest_cell=number,
            host_cell=number,
            vcpus=CpuSet([number]),
            memory_kib=65536,
            policy=CpuPolicy.DEDICATED,
            pins={number: CpuSet([1 + 4 * number])},
        )
        for number in (0, 1)
    )
    emulator_cpus = CpuSet.parse(emulator)
    topology = CpuTopology(2, 1, 1)
    return Placement(
        host="h", name="g", vcpus=2, memory_kib=131072, cells=cells, emulator=emulator_cpus, cpu_topology=topology
    )


@pytest.mark.parametrize(
    ("emulator", "start"),
    [
        pytest.param("1,5", "1,5", id="with the vCPUs: a pCPU on each cell"),
        pytest.param("2", "2,5", id="apart on the first cell: the pin on the second joins"),
        pytest.param("6", "1,6", id="apart on the second cell: the pin on the first joins"),
        pytest.param("0,4", "0,4", id="shared pCPUs on both cells are enough, though none is the guest's"),
        pytest.param("8", "1,5,8", id="on neither cell: both pins join"),
    ],
)
def test_the_emulators_pin_at_the_start(emulator: str, start: str) -> None:
    assert str(start_emulator(on_two_cells(emulator), CELLS)) == start


def elsewhere(name: str) -> Placement:
    """A guest on the second pCPU whose emulator is on a pCPU that its cell, as the placement has it, is without."""
    return msgspec.structs.replace(dedicated(name, SECOND), emulator=CpuSet([FIRST]))


def test_memory_that_is_not_allocated_at_the_start_leaves_the_xml_alone(libvirt: Driver) -> None:
    placement = elsewhere("lazy")
    far = msgspec.structs.replace(placement, cells=(msgspec.structs.replace(placement.cells[0], host_cell=99),))
    xml = render_domain(far, template="tiny", virt_type="qemu")
    assert with_start_pin(libvirt, far, xml) == xml
    eager = xml.replace("<vcpu", "<memoryBacking><allocation mode='immediate'/></memoryBacking><vcpu", 1)
    widened = with_start_pin(libvirt, far, eager)
    assert f'<emulatorpin cpuset="{CpuSet([FIRST, SECOND])}"' in widened


def test_a_wide_start_is_narrowed_before_the_guest_runs_and_is_no_different_next_start(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    placement = elsewhere(names("wide"))
    guest = plan_guest(placement, render_domain(placement, template="tiny", virt_type="qemu"))
    exact = f'<emulatorpin cpuset="{FIRST}"'
    assert exact in guest.xml
    wide = guest.xml.replace(exact, f'<emulatorpin cpuset="{CpuSet([FIRST, SECOND])}"')
    verdict = apply_create(libvirt, journal, msgspec.structs.replace(guest, xml=wide))
    assert verdict is not None
    assert verdict.ok
    assert read_masks(libvirt, guest.name).emulator == CpuSet([FIRST])
    assert libvirt.emulator_pin(guest.name, config=True) == CpuSet([FIRST, SECOND])
    (judged,) = verify_host(libvirt, names=[guest.name]).guests
    assert "next-start-differs" not in {notice.code for notice in judged.notices}


def test_a_cell_without_the_memory_that_a_guest_takes_there_is_named() -> None:
    """The kernel kills QEMU then, of which libvirt only says that it exited."""
    host = parse_synthetic("socket:2 core:2 thread:1 memory:1GiB")
    poor = msgspec.structs.replace(host.cells[1], free_kib=32768)
    starved = msgspec.structs.replace(host, cells=(host.cells[0], poor))
    said = describe_shortage(on_two_cells("0"), starved)
    assert said == "; cell 1 has 32 MiB free of the 64 MiB that it takes there"
    assert describe_shortage(on_two_cells("0"), host) == ""
