"""A running guest onto the other cell of a real two-cell host: its threads, pages and policies, by kernel files."""

import json

import pytest

from tests.lab.guests import Guest, make_request, parse_cpus, read_cell_cpus, read_free_pages, started
from tests.lab.machine import Machine

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

DEDICATED = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1"}


def home(guest: Guest) -> int:
    cell = guest.placement["cells"][0]["host_cell"]
    assert isinstance(cell, int)
    return cell


def test_threads_and_pages_move_to_the_other_cell_and_back(lab: Machine) -> None:
    with started(lab, make_request("mover", 2, DEDICATED)) as guest:
        old = home(guest)
        new = 1 - old
        before = guest.read_cells()
        assert before[new] * 20 < before[old]
        pins = guest.read_vcpus()
        shown = lab.run("cellwright", "migrate-cells", guest.name, "--to", str(new), "--dry-run").stdout
        assert "vcpu 0" in shown
        assert f"its memory, 128 MiB at most, would move from cell {old} to {new}" in shown
        assert (guest.read_vcpus(), guest.read_cells().keys()) == (pins, before.keys())
        lab.run("cellwright", "migrate-cells", guest.name, "--to", str(new))
        for cpus in guest.read_vcpus().values():
            assert cpus <= read_cell_cpus(lab, new)
        assert guest.read_others() <= read_cell_cpus(lab, new)
        after = guest.read_cells()
        assert after[old] * 20 < after[new]
        assert set(guest.read_memory()) == {f"bind:{new}"}
        assert guest.verify()["ok"]
        config = lab.run("virsh", "-q", "dumpxml", "--inactive", guest.name).stdout
        assert f"<memnode cellid='0' mode='strict' nodeset='{new}'/>" in config
        lab.run("cellwright", "undo")
        back = guest.read_cells()
        assert back[new] * 20 < back[old]
        assert set(guest.read_memory()) == {f"bind:{old}"}
        assert guest.verify()["ok"]


def test_a_cell_without_room_is_a_misfit(lab: Machine) -> None:
    with started(lab, make_request("big", 4, DEDICATED)) as big:
        other = make_request("small", 1, {**DEDICATED})
        with started(lab, other) as small:
            assert home(small) != home(big)
            done = lab.run("cellwright", "migrate-cells", "small", "--to", str(home(big)), status=3)
            assert f"cell {home(big)} has 0 free dedicated pCPUs of the 1 wanted" in done.stdout
            assert small.read_vcpus() == {0: parse_cpus(small.placement["cells"][0]["pins"]["0"])}


POOL = "/sys/devices/system/node/node{cell}/hugepages/hugepages-2048kB/nr_hugepages"


def test_huge_pages_move_into_the_other_cell_s_pool_while_it_has_room(lab: Machine) -> None:
    pools = [POOL.format(cell=cell) for cell in (0, 1)]
    lab.shell("".join(f"echo 70 >{pool}\n" for pool in pools))
    try:
        with started(lab, make_request("huge", 2, {**DEDICATED, "hw:mem_page_size": "2MB"})) as guest:
            old = home(guest)
            new = 1 - old
            assert read_free_pages(lab, 2048)[old] == 70 - 64
            lab.run("cellwright", "migrate-cells", "huge", "--to", str(new))
            assert read_free_pages(lab, 2048) == [70 - 64 * (cell == new) for cell in (0, 1)]
            assert {policy: set(pages) for policy, pages in guest.read_memory().items()} == {f"bind:{new}": {new}}
            assert guest.verify(status=None)["ok"]
            lab.shell(f"echo 40 >{pools[old]}")
            done = lab.run("cellwright", "migrate-cells", "huge", "--to", str(old), status=3)
            assert f"cell {old} has 80 MiB free in pages (2 MiB) of the 128 MiB wanted" in done.stdout, str(done)
            assert read_free_pages(lab, 2048)[new] == 70 - 64
            lab.run("cellwright", "undo")
            assert {policy: set(pages) for policy, pages in guest.read_memory().items()} == {f"bind:{old}": {old}}, (
                "an undo asks for no room, and the kernel makes pages of free memory where the pool has none"
            )
    finally:
        lab.shell("".join(f"echo 0 >{pool}\n" for pool in pools))


def test_guest_cells_never_change_places_while_memory_is_in_use(lab: Machine) -> None:
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"}
    with started(lab, make_request("pair", 4, specs)) as guest:
        first, second = (cell["host_cell"] for cell in guest.placement["cells"])
        pins = guest.read_vcpus()
        done = lab.run("cellwright", "migrate-cells", "pair", "--to", f"{second},{first}", status=2)
        assert "the kernel keeps the order of cells" in done.stderr
        assert guest.read_vcpus() == pins


def test_pages_that_strayed_come_home_when_asked(lab: Machine) -> None:
    with started(lab, make_request("stray", 2, DEDICATED)) as guest:
        cell = home(guest)
        lab.run("migratepages", str(guest.pid), str(cell), str(1 - cell))
        (policy,) = guest.read_memory()
        assert guest.read_memory()[policy][cell] == 0
        assert "nothing had drifted" in lab.run("cellwright", "repair", "stray").stdout, (
            "pages are looked at when asked"
        )
        shown = lab.run("cellwright", "repair", "stray", "--pages", "--dry-run", status=4).stdout
        assert "128 MiB of 128 MiB resident memory is not on host cell" in shown
        assert "would be repaired" in shown
        assert guest.read_memory()[policy][cell] == 0
        lab.run("cellwright", "repair", "stray", "--pages")
        assert set(guest.read_memory()[policy]) == {cell}


def test_a_live_pin_to_the_other_cell_leaves_memory_that_a_repair_brings_and_an_undo_takes_back(lab: Machine) -> None:
    with started(lab, make_request("late", 2, DEDICATED)) as guest:
        old = home(guest)
        request = make_request("late", 2, {**DEDICATED, "cw:host_cells": str(1 - old)})
        lab.run("cellwright", "pin", "late", "--request", "-", "--live", stdin=json.dumps(request))
        assert set(guest.read_memory()) == {f"bind:{old}"}
        lab.run("cellwright", "repair", "late", "--pages")
        assert {policy: set(cells) for policy, cells in guest.read_memory().items()} == {f"bind:{1 - old}": {1 - old}}
        lab.run("cellwright", "undo")
        assert {policy: set(cells) for policy, cells in guest.read_memory().items()} == {f"bind:{old}": {old}}
