"""The columns over cells never refuse a host that the exact fit accepts; the exact mode is the exact fit."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.request import Flavor, Image, Request
from agent.core.topology import HostTopology
from agent.core.usage import CellUsage, Limits, PageUse, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement.engine import fit
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.room import measure_room
from agent.scheduler.registry import all_filters
from agent.scheduler.select import candidates
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

HOSTS = [
    parse_synthetic(text)
    for text in (
        "socket:2 core:4 thread:2 memory:8GiB,16GiB pages:2M=1024",
        "socket:2 core:4 memory:8GiB pages:2M=512,1G=2",
        "cell:4 core:2 thread:2 memory:4GiB",
        "socket:2 core:4 thread:2 memory:8GiB dedicated:0-1,8-9,4-5,12-13 shared:2-3,10-11,6-7,14-15",
        "socket:2 core:4 thread:2 memory:8GiB dedicated:0-7",
        "core:8 thread:2 memory:16GiB",
    )
]
SPECS = {
    "hw:cpu_policy": ("dedicated", "dedicated", "shared", "mixed"),
    "hw:cpu_dedicated_mask": ("0", "0-1", "^0"),
    "hw:cpu_thread_policy": ("prefer", "isolate", "require"),
    "hw:numa_nodes": ("1", "2", "3"),
    "hw:mem_page_size": ("small", "large", "any", "2048", "1048576", "2MB"),
    "hw:emulator_threads_policy": ("isolate", "share"),
    "cw:l3": ("one",),
    "cw:numa_nodes": ("auto",),
}
EXACT = SchedulingSettings(filters=("NUMATopology",), numa_exact=True)
COLUMNS = SchedulingSettings(filters=("NUMATopology",))


@st.composite
def usages(draw: st.DrawFn, host: HostTopology) -> Usage:
    cells = []
    for cell in host.cells:
        owned = draw(st.sets(st.sampled_from(sorted(cell.cpus & host.dedicated()) or [-1])))
        floating = draw(st.integers(0, 12)) if host.shared() else 0
        memory_kib = draw(st.integers(0, 7)) << 20
        pages = tuple(PageUse(pool.size_kib, draw(st.integers(0, pool.total))) for pool in cell.pages)
        cells.append(CellUsage(cell.id, CpuSet(owned - {-1}), floating, memory_kib, pages))
    return Usage(tuple(cells))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    keys = draw(st.sets(st.sampled_from(sorted(SPECS)), max_size=4))
    specs = {key: draw(st.sampled_from(SPECS[key])) for key in sorted(keys)}
    if "hw:cpu_dedicated_mask" in specs:
        specs["hw:cpu_policy"] = "mixed"
    flavor = Flavor(vcpus=draw(st.integers(1, 12)), ram_mb=draw(st.sampled_from((512, 2048, 4096))), extra_specs=specs)
    properties: dict[str, Any] = draw(st.sampled_from(({}, {}, {"hw_cpu_thread_policy": "isolate"})))
    return Request(name="g", flavor=flavor, image=Image(properties=properties))


def limits() -> st.SearchStrategy[Limits]:
    ratio = st.sampled_from((None, 1.0, 1.5, 4.0))
    return st.builds(
        lambda cpu, ram, kept: Limits(
            cpu_allocation_ratio=cpu, ram_allocation_ratio=ram, reserved_memory_mb={0: kept} if kept else {}
        ),
        ratio,
        ratio,
        st.sampled_from((0, 700)),
    )


@st.composite
def tables(draw: st.DrawFn) -> HostTable:
    table = HostTable()
    for number, host in enumerate(HOSTS):
        room = measure_room(layout_of(host), draw(usages(host)), draw(limits()))
        named = replace(host, hostname=f"h{number}")
        table.put(HostRow(name=f"h{number}", topology=named, room=room, vcpus=16, ram_mb=1, free_ram_mb=1))
    return table


@settings(max_examples=150, deadline=None)
@given(tables(), requests())
def test_columns_never_refuse_what_fits(table: HostTable, request: Request) -> None:
    try:
        guest = parse_guest(request)
    except BadRequest:
        return
    filters = [all_filters(())["NUMATopology"]]
    wanted = Wanted(request=request)
    left = set(candidates(table, wanted, filters=filters, settings=COLUMNS)[0].tolist())
    exact = set(candidates(table, wanted, filters=filters, settings=EXACT)[0].tolist())
    fits = set()
    for row in range(table.size):
        room = table.at(row).room
        assert room is not None
        if fit(room, guest).fits:
            fits.add(row)
    assert fits <= left
    assert exact == fits
