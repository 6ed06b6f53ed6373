"""The example that the field knows, from a published article on a 2 × 18 × 2 host, told as it was told there.

Cell 0 has CPUs 0-17 and 36-53, cell 1 has 18-35 and 54-71; siblings are i and i+36.
"""

import pytest

from agent.core.claims import claim
from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.placement import CpuTopology, Placement
from agent.core.request import Flavor, Request
from agent.core.usage import Usage
from agent.placement import place
from tests.hosts import host
from tests.placement.validator import check

OSDEV = host("osdev-01")
CELL_0 = CpuSet.parse("0-17,36-53")
CELL_1 = CpuSet.parse("18-35,54-71")


def request(name: str, *, vcpus: int, ram_mb: int, **specs: str) -> Request:
    extra_specs = {f"hw:{key.replace('__', '.')}": value for key, value in specs.items()}
    return Request(Flavor(vcpus, ram_mb, name="machine.cpu", extra_specs=extra_specs), name=name)


def placed(wanted: Request, usage: Usage | None = None) -> Placement:
    usage = usage or Usage()
    answer = place(OSDEV, usage, wanted)
    assert isinstance(answer, Placement), answer
    check(OSDEV, usage, wanted, None, answer)
    return answer


def pins(answer: Placement) -> CpuSet:
    return CpuSet(cpu for cell in answer.cells for cpus in cell.pins.values() for cpu in cpus)


def cores(cpus: CpuSet) -> set[int]:
    return {cpu % 36 for cpu in cpus}


def dedicated(policy: str) -> Request:
    return request(policy, vcpus=16, ram_mb=4096, cpu_policy="dedicated", cpu_thread_policy=policy, numa_nodes="1")


def test_a_guest_without_wishes_floats_over_the_whole_host() -> None:
    answer = placed(request("plain", vcpus=2, ram_mb=64))
    assert answer.cells == ()
    assert answer.emulator == CpuSet.parse("0-71")
    assert answer.mempolicy is None


def test_one_guest_cell_floats_over_one_cell_and_its_memory_is_bound_there() -> None:
    answer = placed(request("numa", vcpus=2, ram_mb=64, numa_nodes="1", numa_cpus__0="0,1", numa_mem__0="64"))
    (cell,) = answer.cells
    assert (cell.host_cell, cell.memory_kib) == (0, 65536)
    assert cell.pins == {0: CELL_0, 1: CELL_0}
    assert answer.emulator == CELL_0
    assert answer.mempolicy == "strict"


def test_prefer_takes_eight_whole_cores_and_the_guest_sees_the_siblings() -> None:
    answer = placed(dedicated("prefer"))
    assert len(pins(answer)) == 16
    assert len(cores(pins(answer))) == 8
    assert answer.emulator == pins(answer)
    assert answer.cpu_topology == CpuTopology(sockets=8, cores=1, threads=2)
    for vcpu in range(0, 16, 2):
        siblings = answer.cells[0].pins[vcpu] | answer.cells[0].pins[vcpu + 1]
        assert len(cores(siblings)) == 1, f"vCPUs {vcpu} and {vcpu + 1} are threads of one core"


def test_isolate_takes_sixteen_cores_and_owns_their_siblings() -> None:
    answer = placed(dedicated("isolate"))
    assert len(cores(pins(answer))) == 16
    assert cores(answer.reserved) == cores(pins(answer))
    assert answer.owned() == pins(answer) | answer.reserved
    assert answer.cpu_topology == CpuTopology(sockets=16, cores=1, threads=1)


@pytest.mark.parametrize(
    "order",
    [("prefer", "isolate", "require"), ("isolate", "require", "prefer"), ("require", "prefer", "isolate")],
    ids="-".join,
)
def test_all_three_share_the_host_and_no_sibling_of_an_isolated_core_is_ever_given_away(order: tuple[str, ...]) -> None:
    usage = Usage()
    answers = {}
    for policy in order:
        answers[policy] = placed(dedicated(policy), usage)
        usage = claim(usage, answers[policy])
    owned = [answers[policy].owned() for policy in order]
    assert sum(len(cpus) for cpus in owned) == len(owned[0] | owned[1] | owned[2]) == 64
    assert cores(pins(answers["require"])).isdisjoint(cores(pins(answers["isolate"])))
    assert len(cores(pins(answers["require"]))) == len(cores(pins(answers["prefer"]))) == 8


def test_a_fourth_that_needs_whole_cores_is_told_how_many_each_cell_has() -> None:
    usage = Usage()
    for policy in ("prefer", "isolate", "require"):
        usage = claim(usage, placed(dedicated(policy), usage))
    answer = place(OSDEV, usage, dedicated("isolate"))
    assert not answer.fits
    assert [reason.host_cell for reason in answer.misfits] == [0, 1]
    assert all(reason.wanted == 16 and (reason.available or 0) < 16 for reason in answer.misfits)


def test_avoid_is_refused_with_the_names_of_its_successors() -> None:
    with pytest.raises(BadRequest, match="prefer, isolate, require") as caught:
        place(OSDEV, Usage(), dedicated("avoid"))
    assert (caught.value.key, caught.value.value) == ("hw:cpu_thread_policy", "avoid")
