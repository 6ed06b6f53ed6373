"""Two readings of one host: a row for each way in which they can differ."""

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.topology import HostTopology, PagePool
from agent.verification.crosscheck import check_against
from tests.hosts import NAMED, host


@pytest.mark.parametrize("name", NAMED)
def test_equal_readings_agree(name: str) -> None:
    assert check_against(host(name), host(name)) == ()


def without_sockets(shown: HostTopology) -> HostTopology:
    cells = [
        msgspec.structs.replace(cell, cores=tuple(msgspec.structs.replace(core, socket=None) for core in cell.cores))
        for cell in shown.cells
    ]
    return msgspec.structs.replace(shown, cells=tuple(cells))


def change(shown: HostTopology, **fields: object) -> HostTopology:
    """The host with other fields of its last cell."""
    return msgspec.structs.replace(shown, cells=(*shown.cells[:-1], msgspec.structs.replace(shown.cells[-1], **fields)))


@pytest.mark.parametrize(
    ("offline_sockets", "said"),
    [
        ({}, []),  # listed without a socket, or not listed at all
        ({7: 0}, [("socket of offline pCPUs 7", "none", "0")]),
        ({6: 0, 7: 0}, [("socket of offline pCPUs 6-7", "none", "0")]),
        ({6: 1, 7: 0}, [("socket of offline pCPUs 7", "none", "0"), ("socket of offline pCPUs 6", "none", "1")]),
        ({3: 0}, []),  # it runs: whether it runs is another fact
    ],
)
def test_a_socket_for_pcpus_that_do_not_run(offline_sockets: dict[int, int], said: list[tuple[str, str, str]]) -> None:
    shown = msgspec.structs.replace(host("tiny"), offline=CpuSet([6, 7]))
    found = check_against(shown, shown, offline_sockets=offline_sockets)
    assert [(item.fact, item.ours, item.theirs) for item in found] == said


def test_a_pcpu_that_went_offline_since_libvirt_looked() -> None:
    ours = host("no-smt")
    last = ours.cells[1].cores[-1]
    gone = change(ours, cpus=ours.cells[1].cpus - last.cpus, cores=ours.cells[1].cores[:-1])
    ours_now = msgspec.structs.replace(gone, online=ours.online - last.cpus, offline=last.cpus)
    theirs = change(ours, cores=(*ours.cells[1].cores[:-1], msgspec.structs.replace(last, socket=0)))
    found = {item.fact: (item.ours, item.theirs) for item in check_against(ours_now, theirs)}
    assert found == {
        "online pCPUs": ("0-14", "0-15"),
        "pCPUs of cell 1": ("8-14", "8-15"),
        "sockets": ("0-7 | 8-14", "0-7,15 | 8-14"),
    }


def test_one_fact_at_a_time() -> None:
    ours = host("huge-pages")
    pages = ours.cells[1].pages
    fewer = (*pages[:-1], msgspec.structs.replace(pages[-1], total=1))
    rows = [
        ({"id": 9}, ["cells"]),
        ({"memory_kib": 5}, ["memory of cell 1"]),
        ({"memory_kib": None}, []),  # not known is no disagreement
        ({"free_kib": 1}, []),  # free memory changes while one looks
        ({"distances": {0: 20, 1: 10}}, ["distances of cell 1"]),
        ({"distances": {}}, []),
        ({"pages": fewer}, ["1 GiB pages of cell 1"]),
        ({"pages": ()}, []),
        ({"cpus": CpuSet()}, ["pCPUs of cell 1"]),
        ({"cores": ours.cells[0].cores}, ["sockets", "siblings"]),
    ]
    for fields, facts in rows:
        assert [item.fact for item in check_against(ours, change(ours, **fields))] == facts
    assert check_against(ours, without_sockets(ours)) == ()


def test_huge_pages_of_a_cell_whose_memory_is_unknown_are_compared_too() -> None:
    ours = change(host("tiny"), memory_kib=None, pages=(PagePool(2048, 8),))
    theirs = change(ours, pages=(PagePool(2048, 9),))
    assert [(item.fact, item.ours, item.theirs) for item in check_against(ours, theirs)] == [
        (f"2 MiB pages of cell {ours.cells[-1].id}", "8", "9")
    ]
