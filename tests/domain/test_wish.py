"""What an existing domain amounts to as a request: one row a thing it has, and what a request cannot say of it."""

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import CpuTopology, Placement, Schedule
from agent.core.usage import Usage
from agent.domain.document import parse_xml
from agent.domain.parse import parse_elements
from agent.domain.render import graft_domain
from agent.domain.wish import keep_own, wish_of
from agent.placement import place
from tests.hosts import host

TWO_CELLS = "<numa><cell id='0' cpus='0-2' memory='3' unit='MiB'/><cell id='1' cpus='3' memory='1' unit='MiB'/></numa>"
OWN = {"hw:cpu_policy": "dedicated"}


def domain(inside: str = "", *, cpu: str = "") -> str:
    return f"<domain><name>g</name><memory unit='MiB'>4</memory><vcpu>4</vcpu>{inside}<cpu>{cpu}</cpu></domain>"


@pytest.mark.parametrize(
    ("xml", "specs"),
    [
        (domain(), OWN),
        (
            domain(cpu=TWO_CELLS),
            OWN
            | {
                "hw:numa_nodes": 2,
                "hw:numa_cpus.0": "0-2",
                "hw:numa_mem.0": 3,
                "hw:numa_cpus.1": "3",
                "hw:numa_mem.1": 1,
            },
        ),
        (
            domain("<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking>"),
            OWN | {"hw:mem_page_size": 2048},
        ),
        (domain("<iothreads>2</iothreads>"), OWN | {"cw:iothreads": 2}),
        (
            domain("<numatune><memory mode='preferred' nodeset='1'/></numatune>"),
            OWN | {"hw:numa_mempolicy": "preferred"},
        ),
        (domain("<cputune><vcpupin vcpu='0' cpuset='7'/></cputune>"), OWN),
    ],
)
def test_wish(xml: str, specs: dict[str, str | int]) -> None:
    request = wish_of(parse_xml(xml))
    assert (request.flavor.vcpus, request.flavor.ram_mb) == (4, 4)
    assert request.flavor.extra_specs == specs


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (
            domain(
                "<memoryBacking><hugepages><page size='2' unit='MiB' nodeset='1'/></hugepages></memoryBacking>",
                cpu=TWO_CELLS,
            ),
            "pages of different sizes",
        ),
        (domain("<iothreadids><iothread id='4'/></iothreadids>"), r"its I/O threads are \[4\]"),
    ],
)
def test_what_a_request_cannot_say_is_left_to_one_of_the_users_own(xml: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^domain g: .*{said}.*--request$"):
        wish_of(parse_xml(xml), source="domain g")


def test_what_a_domain_has_beside_its_pins_stays() -> None:
    tune = "<cputune><vcpusched vcpus='1' scheduler='batch'/></cputune><memoryBacking><locked/></memoryBacking>"
    xml = domain(tune, cpu="<topology sockets='1' cores='4' threads='1'/>")
    placed = place(host("osdev-01"), Usage(), wish_of(parse_xml(xml)))
    assert isinstance(placed, Placement)
    kept = keep_own(placed, parse_elements(parse_xml(xml)))
    assert kept.cpu_topology == CpuTopology(1, 4, 1)
    again = parse_elements(parse_xml(graft_domain(kept, xml)))
    assert again.schedules.vcpus == {1: Schedule("batch")}
    assert (again.locked, again.cpu_topology) == (True, CpuTopology(1, 4, 1))
    assert [cell.policy for cell in again.cells] == ["dedicated"]
    assert all(len(cpus) == 1 for cpus in again.cells[0].pins.values())
    assert again.cells[0].pins[0] <= CpuSet(range(72))
