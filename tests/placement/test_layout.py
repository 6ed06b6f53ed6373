"""Hosts whose parts do not add up: the kernel tells of a pCPU, but not in which core it is."""

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology, PagePool
from agent.core.usage import Usage
from agent.placement import place
from agent.placement.layout import compile_layout
from tests.hosts import host


def without_cores(*cpus: int) -> HostTopology:
    """``tiny`` (2 cores of 2 threads, siblings i and i+2) whose kernel says nothing of the cores of these pCPUs."""
    tiny = host("tiny")
    cell = tiny.cells[0]
    kept = tuple(core for core in cell.cores if not core.cpus & CpuSet(cpus))
    return msgspec.structs.replace(tiny, cells=(msgspec.structs.replace(cell, cores=kept),))


def asked(vcpus: int, threads: str) -> Request:
    specs = {"hw:cpu_policy": "dedicated", "hw:cpu_thread_policy": threads}
    return Request(name="g", flavor=Flavor(vcpus=vcpus, ram_mb=64, extra_specs=specs))


def test_a_pcpu_in_no_core_is_a_core_of_its_own() -> None:
    layout = compile_layout(without_cores(1, 3))
    assert layout.cells[0].cores == (0b0101, 0b0010, 0b1000)
    assert compile_layout(without_cores(0, 1, 2, 3)).cells[0].cores == (1, 2, 4, 8)


def test_guests_are_placed_on_such_pcpus() -> None:
    rows = [
        # vCPUs, thread policy, pCPUs without a core, the pCPUs that are owned then
        (4, "prefer", (1, 3), "0-3"),
        (4, "prefer", (0, 1, 2, 3), "0-3"),
        (2, "require", (1, 3), "0,2"),
        (4, "isolate", (0, 1, 2, 3), "0-3"),
        (3, "isolate", (1, 3), "0-3"),  # 2 is kept idle beside 0; 1 and 3 have no sibling that is known
        (2, "require", (0, 1, 2, 3), None),
    ]
    for vcpus, threads, lost, owned in rows:
        answer = place(without_cores(*lost), Usage(), asked(vcpus, threads))
        found = str(answer.owned()) if isinstance(answer, Placement) else None
        assert found == owned, (vcpus, threads, lost, answer)


@pytest.mark.parametrize(
    ("size", "found"), [(None, 0), ("small", 0), ("large", 2048), ("any", 2048), ("2MB", 2048), ("1GB", 0)]
)
def test_huge_pages_are_no_ordinary_memory_where_that_is_unknown(size: str | None, found: int) -> None:
    """A saved tree may have the pools of a cell and not its meminfo."""
    tiny = host("tiny")
    pools = (PagePool(2048, 1024), PagePool(1 << 20, 0))
    unknown = msgspec.structs.replace(tiny.cells[0], memory_kib=None, pages=pools)
    specs = {"hw:cpu_policy": "dedicated"} | ({"hw:mem_page_size": size} if size else {})
    request = Request(name="g", flavor=Flavor(vcpus=2, ram_mb=512, extra_specs=dict(specs)))
    answer = place(msgspec.structs.replace(tiny, cells=(unknown,)), Usage(), request)
    assert (answer.cells[0].page_kib if isinstance(answer, Placement) else 0) == found
