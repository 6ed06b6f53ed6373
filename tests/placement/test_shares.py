"""Which caches the shares of a guest are cut from, on hosts with one L3 a cell and with several."""

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.misfit import Code
from agent.core.placement import BandwidthShare, CacheShare, Misfit, Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place
from agent.placement.layout import layout_of
from agent.placement.nearest import nearest
from agent.placement.shares import move_shares
from tests.hosts import host

TWO_CELLS = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2"}


def ask(on: HostTopology, specs: dict[str, str]) -> Placement | Misfit:
    return place(on, Usage(), Request(Flavor(4, 1024, extra_specs=specs), name="db-1"))


@pytest.mark.parametrize(
    ("on", "specs", "caches"),
    [
        ("osdev-01", {"hw:cpu_policy": "dedicated"}, [0]),  # one L3 a cell, one cell
        ("osdev-01", TWO_CELLS, [0, 1]),  # a share of each cell's cache for all vCPUs
        ("osdev-01", {}, [0, 1]),  # floats over the host, so over both
        ("ccx", {"hw:cpu_policy": "dedicated"}, [0]),  # four L3s a cell, and the guest fits into one
        ("ccx", TWO_CELLS, [0, 4]),
    ],
)
def test_a_share_of_every_cache_behind_the_guest_s_pcpus(on: str, specs: dict[str, str], caches: list[int]) -> None:
    answer = ask(host(on), specs | {"cw:cachetune": "2M", "cw:memorytune": "40"})
    assert isinstance(answer, Placement)
    everyone = CpuSet(range(4))
    assert answer.cache_shares == tuple(CacheShare(everyone, cache, 2048) for cache in caches)
    assert answer.bandwidth_shares == tuple(BandwidthShare(everyone, cache, 40) for cache in caches)


def test_vcpus_of_one_guest_cell_have_shares_of_their_cell_s_cache_alone() -> None:
    answer = ask(host("osdev-01"), TWO_CELLS | {"cw:cachetune": "2-3=2M code;2-3=1M data"})
    assert isinstance(answer, Placement)
    last = CpuSet([2, 3])
    assert answer.cache_shares == (CacheShare(last, 1, 2048, type="code"), CacheShare(last, 1, 1024, type="data"))


def test_a_cache_that_spans_cells_is_shared_once() -> None:
    """Sub-NUMA clustering: two cells behind one L3."""
    found = host("osdev-01")
    cells = tuple(
        msgspec.structs.replace(cell, caches=tuple(msgspec.structs.replace(one, id=7) for one in cell.caches))
        for cell in found.cells
    )
    answer = ask(msgspec.structs.replace(found, cells=cells), TWO_CELLS | {"cw:memorytune": "10"})
    assert isinstance(answer, Placement)
    assert answer.bandwidth_shares == (BandwidthShare(CpuSet(range(4)), 7, 10),)


def test_shares_follow_a_guest_that_moves() -> None:
    found = host("ccx")
    asked: dict[str, str] = {"hw:cpu_policy": "dedicated", "cw:cachetune": "2M", "cw:memorytune": "40"}
    first, second = (ask(found, asked | {"cw:host_cells": str(cell)}) for cell in (0, 1))
    assert isinstance(first, Placement)
    assert isinstance(second, Placement)
    moved = move_shares(layout_of(found), msgspec.structs.replace(first, cells=second.cells))
    assert isinstance(moved, Placement)
    assert moved.cache_shares == second.cache_shares != first.cache_shares
    assert moved.bandwidth_shares == second.bandwidth_shares


def test_a_host_that_cannot_say_or_has_too_little_is_a_misfit_and_the_wish_is_what_to_give_up() -> None:
    found = host("osdev-01")
    bare = msgspec.structs.replace(found, cells=tuple(msgspec.structs.replace(cell, caches=()) for cell in found.cells))
    for on, code in ((bare, Code.NO_CACHE_IDS), (found, Code.CACHE_TOO_SMALL)):
        specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated", "cw:cachetune": "1G"}
        request = Request(Flavor(4, 1024, extra_specs=specs), name="db-1")
        answer = place(on, Usage(), request)
        assert isinstance(answer, Misfit)
        assert [reason.code for reason in answer.misfits] == [code]
        better = nearest(on, Usage(), request)
        assert better is not None
        assert better.change == "no cw:cachetune"
    slow = Request(Flavor(4, 1024, extra_specs={"hw:cpu_policy": "dedicated", "cw:memorytune": "50"}), name="db-1")
    better = nearest(bare, Usage(), slow)
    assert better is not None
    assert (better.change, better.message) == ("no cw:memorytune", "fits on cell 0 without cw:memorytune")


def test_the_caches_that_are_large_enough_are_found() -> None:
    """Two L3 groups of one cell, 4 MiB and 32 MiB, as of parts with stacked cache: the smaller comes first."""
    plain = parse_synthetic("l3:2 core:4 memory:8GiB name:stacked")
    (cell,) = plain.cells
    small, large = cell.caches
    caches = (msgspec.structs.replace(small, size_kib=4096), msgspec.structs.replace(large, size_kib=32768))
    stacked = msgspec.structs.replace(plain, cells=(msgspec.structs.replace(cell, caches=caches),))
    for wish, vcpus, pins in (("2M", 2, "0-1"), ("16M", 2, "4-5"), ("16M", 5, None), ("64M", 2, None)):
        specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated", "cw:cachetune": wish}
        answer = place(stacked, Usage(), Request(Flavor(vcpus, 512, extra_specs=specs), name="db"))
        found = str(answer.owned()) if isinstance(answer, Placement) else answer.misfits[0].code
        assert found == (pins or Code.CACHE_TOO_SMALL), wish


def test_every_cache_behind_the_guest_must_be_known() -> None:
    """Caches are told of cell 1 alone: a guest of one cell goes there, one of two cells nowhere."""
    plain = host("osdev-01")
    first, second = plain.cells
    half = msgspec.structs.replace(plain, cells=(msgspec.structs.replace(first, caches=()), second))
    one = ask(half, {"hw:cpu_policy": "dedicated", "cw:memorytune": "50"})
    assert isinstance(one, Placement)
    assert [cell.host_cell for cell in one.cells] == [1]
    two = ask(half, TWO_CELLS | {"cw:memorytune": "50"})
    assert isinstance(two, Misfit)
    assert [reason.code for reason in two.misfits] == [Code.NO_CACHE_IDS]
