"""A running guest onto the other cell of a real two-cell host: its threads, pages and policies, by kernel files."""

import json
from collections.abc import Iterator

import pytest

from tests.lab.guests import POOL, Guest, huge_pages, make_request, read_cell_cpus, read_free_pages, started
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

DEDICATED = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1"}


def home(guest: Guest) -> int:
    cell = guest.placement["cells"][0]["host_cell"]
    assert isinstance(cell, int)
    return cell


@pytest.fixture(scope="module")
def mover(lab: Machine) -> Iterator[Guest]:
    """A guest on one cell, which every test leaves there."""
    with started(lab, make_request("mover", 2, DEDICATED)) as guest:
        yield guest


def cells_by_policy(guest: Guest) -> dict[str, set[int]]:
    return {policy: set(cells) for policy, cells in guest.read_memory().items()}


def test_threads_and_pages_move_to_the_other_cell_and_back(lab: Machine, mover: Guest) -> None:
    old = home(mover)
    new = 1 - old
    before = mover.read_cells()
    assert before[new] * 20 < before[old]
    pins = mover.read_vcpus()
    shown = lab.run("cellwright", "migrate-cells", "mover", "--to", str(new), "--dry-run").stdout
    assert "vcpu 0" in shown
    assert f"its memory, 128 MiB at most, would move from cell {old} to {new}" in shown
    assert mover.read_vcpus() == pins
    assert mover.read_cells()[new] * 20 < before[old]
    lab.run("cellwright", "migrate-cells", "mover", "--to", str(new))
    for cpus in mover.read_vcpus().values():
        assert cpus <= read_cell_cpus(lab, new)
    assert mover.read_others() <= read_cell_cpus(lab, new)
    after = mover.read_cells()
    assert after[old] * 20 < after[new]
    assert cells_by_policy(mover) == {f"bind:{new}": {new}}
    assert mover.verify()["ok"]
    config = lab.run("virsh", "-q", "dumpxml", "--inactive", "mover").stdout
    assert f"<memnode cellid='0' mode='strict' nodeset='{new}'/>" in config
    lab.run("cellwright", "undo")
    back = mover.read_cells()
    assert back[new] * 20 < back[old]
    assert cells_by_policy(mover) == {f"bind:{old}": {old}}
    assert mover.verify()["ok"]


def test_a_cell_without_room_is_a_misfit(lab: Machine, mover: Guest) -> None:
    pins = mover.read_vcpus()
    with started(lab, make_request("big", 4, DEDICATED)) as big:
        assert home(mover) != home(big)
        done = lab.run("cellwright", "migrate-cells", "mover", "--to", str(home(big)), status=3)
        assert f"cell {home(big)} has 0 free dedicated pCPUs of the 2 wanted" in done.stdout
        assert mover.read_vcpus() == pins


def test_pages_that_strayed_come_home_when_asked(lab: Machine, mover: Guest) -> None:
    cell = home(mover)
    (policy,) = mover.read_memory()
    move = ("migratepages", str(mover.pid), str(cell), str(1 - cell))  # a page in use at this moment stays behind
    wait_until("all have strayed", lambda: lab.run(*move) and mover.read_memory()[policy][cell] == 0)
    assert "nothing had drifted" in lab.run("cellwright", "repair", "mover").stdout, "pages are looked at when asked"
    shown = lab.run("cellwright", "repair", "mover", "--pages", "--dry-run", status=4).stdout
    assert "128 MiB of 128 MiB resident memory is not on host cell" in shown
    assert "would be repaired" in shown
    assert mover.read_memory()[policy][cell] == 0
    lab.run("cellwright", "repair", "mover", "--pages")
    assert set(mover.read_memory()[policy]) == {cell}
    kept = f"128 MiB of its memory stay where they belong: they were on cell {1 - cell}, which its cgroups do not allow"
    assert kept in lab.run("cellwright", "undo", "--dry-run").stdout
    assert kept in lab.run("cellwright", "undo").stdout
    assert set(mover.read_memory()[policy]) == {cell}


def test_a_live_pin_to_the_other_cell_leaves_memory_that_a_repair_brings_and_an_undo_takes_back(
    lab: Machine, mover: Guest
) -> None:
    old = home(mover)
    request = make_request("mover", 2, {**DEDICATED, "cw:host_cells": str(1 - old)})
    lab.run("cellwright", "pin", "mover", "--request", "-", "--live", stdin=json.dumps(request))
    assert set(mover.read_memory()) == {f"bind:{old}"}
    lab.run("cellwright", "repair", "mover", "--pages")
    assert cells_by_policy(mover) == {f"bind:{1 - old}": {1 - old}}
    assert f"128 MiB: cell {1 - old} -> {old}" in lab.run("cellwright", "undo", "--dry-run").stdout
    assert lab.run("cellwright", "undo").stderr == ""
    assert cells_by_policy(mover) == {f"bind:{old}": {old}}
    lab.run("cellwright", "undo")
    assert mover.verify()["ok"]


def test_huge_pages_move_into_the_other_cell_s_pool_while_it_has_room(lab: Machine) -> None:
    with (
        huge_pages(lab, 70, 70),
        started(lab, make_request("huge", 2, {**DEDICATED, "hw:mem_page_size": "2MB"})) as guest,
    ):
        old = home(guest)
        new = 1 - old
        assert read_free_pages(lab, 2048)[old] == 70 - 64
        lab.run("cellwright", "migrate-cells", "huge", "--to", str(new))
        assert read_free_pages(lab, 2048) == [70 - 64 * (cell == new) for cell in (0, 1)]
        assert cells_by_policy(guest) == {f"bind:{new}": {new}}
        assert guest.verify(status=None)["ok"]
        lab.shell(f"echo 40 >{POOL.format(cell=old)}")
        done = lab.run("cellwright", "migrate-cells", "huge", "--to", str(old), status=3)
        assert f"cell {old} has 80 MiB free in pages (2 MiB) of the 128 MiB wanted" in done.stdout, str(done)
        assert read_free_pages(lab, 2048)[new] == 70 - 64
        lab.run("cellwright", "undo")
        assert cells_by_policy(guest) == {f"bind:{old}": {old}}, (
            "an undo asks for no room, and the kernel makes pages of free memory where the pool has none"
        )
