"""A running guest onto the other cell of a real two-cell host: its threads, pages and policies, by kernel files."""

import pytest

from tests.lab.guests import Guest, make_request, parse_cpus, read_cell_cpus, started
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
