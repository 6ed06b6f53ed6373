"""Random hosts, usages, limits and requests for hypothesis: small, but with every kind of trouble."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from agent.core.cpuset import CpuSet
from agent.core.policy import PackingPolicy
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import CellUsage, Limits, PageUse, ReservedPages, Usage
from agent.inspection.synthetic import parse_synthetic

MIB = 1024
HUGE_KIB = 2048


@st.composite
def hosts(draw: st.DrawFn, *, most_cells: int = 4, most_pcpus: int = 32) -> HostTopology:
    """A host of 1 to ``most_cells`` cells with SMT 1, 2 or 4, one or two L3 groups a cell, and any kind of sets."""
    sockets = draw(st.integers(1, min(2, most_cells)))
    cells = draw(st.integers(1, max(1, most_cells // sockets)))
    threads = draw(st.sampled_from([1, 2, 2, 4]))
    groups = draw(st.integers(1, 2))
    most_cores = most_pcpus // (sockets * cells * threads * groups)
    cores = draw(st.integers(1, min(4, max(1, most_cores))))
    count = sockets * cells
    apart = [[draw(st.sampled_from([12, 16, 21, 32])) for _ in range(count)] for _ in range(count)]
    rows = [
        "/".join(str(10 if one == other else apart[min(one, other)][max(one, other)]) for other in range(count))
        for one in range(count)
    ]
    pages = draw(st.sampled_from([0, 0, 4, 16]))
    host = parse_synthetic(
        f"socket:{sockets} cell:{cells} l3:{groups} core:{cores} thread:{threads} memory:64MiB name:random "
        f"pages:2M={pages} numbering:{draw(st.sampled_from(['split', 'near']))} distance:{','.join(rows)}"
    )
    return with_sets(
        host, draw(st.sampled_from(["unset", "unset", "legacy", "cores", "siblings", "one-thread", "shared-only"]))
    )


def with_sets(host: HostTopology, kind: str) -> HostTopology:
    """The host with its CPUs divided the way operators do."""
    cores = [sorted(core.cpus) for cell in host.cells for core in cell.cores]
    first = CpuSet(cpus[0] for cpus in cores)
    some = CpuSet(cpu for cell in host.cells for core in cell.cores[: -(-len(cell.cores) // 2)] for cpu in core.cpus)
    sets: dict[str, tuple[CpuSet | None, CpuSet | None]] = {
        "unset": (None, None),
        "legacy": (some, some),
        "cores": (some, host.online - some),
        "siblings": (first, host.online - first),
        "one-thread": (first, None),
        "shared-only": (None, some),
    }
    dedicated, shared = sets[kind]
    return msgspec.structs.replace(host, dedicated_set=dedicated, shared_set=shared)


@st.composite
def devices(draw: st.DrawFn, host: HostTopology) -> HostTopology:
    """The host with up to two network cards on some of its cells, and sometimes one of which no cell is known."""
    cells = []
    for cell in host.cells:
        cards = range(draw(st.integers(0, 2)))
        mine = tuple(Device("net", f"eno{cell.id}{n}", f"0000:{cell.id:02x}:0{n}.0") for n in cards)
        cells.append(msgspec.structs.replace(cell, devices=mine))
    loose = (Device("net", "loose", "0000:ff:00.0"),) if draw(st.booleans()) else ()
    return msgspec.structs.replace(host, cells=tuple(cells), unplaced_devices=loose)


def wanting(request: Request, **specs: str) -> Request:
    """The request with more extra specs; ``cw__l3`` stands for ``cw:l3``."""
    more = {key.replace("__", ":"): value for key, value in specs.items()}
    flavor = msgspec.structs.replace(request.flavor, extra_specs=request.flavor.extra_specs | more)
    return msgspec.structs.replace(request, flavor=flavor)


@st.composite
def usages(draw: st.DrawFn, host: HostTopology) -> Usage:
    """What random guests hold: pinned pCPUs, floating vCPUs, memory, huge pages."""
    cells = []
    for cell in host.cells:
        mine = sorted(cell.cpus & host.dedicated())
        pinned = CpuSet(draw(st.sets(st.sampled_from(mine)))) if mine and draw(st.booleans()) else CpuSet()
        mib = draw(st.sampled_from([0, 0, 4, 30]))
        pools = [pool for pool in cell.pages if pool.size_kib == HUGE_KIB]
        pages = [PageUse(4, mib * MIB // 4)]
        pages += [PageUse(HUGE_KIB, draw(st.integers(0, pool.total))) for pool in pools]
        floating = draw(st.integers(0, 4))
        cells.append(
            CellUsage(cell.id, pinned=pinned, floating_vcpus=floating, memory_kib=mib * MIB, pages=tuple(pages))
        )
    return Usage(cells=tuple(cells))


@st.composite
def limits(draw: st.DrawFn, host: HostTopology) -> Limits | None:
    """Often none; else ratios, and reserves on the first cell."""
    if draw(st.booleans()):
        return None
    first = host.cells[0]
    reserved = ()
    if draw(st.booleans()) and any(pool.size_kib == HUGE_KIB for pool in first.pages):
        reserved = (ReservedPages(first.id, HUGE_KIB, draw(st.integers(0, 4))),)
    return Limits(
        cpu_allocation_ratio=draw(st.sampled_from([None, 1.0, 1.5, 4.0])),
        ram_allocation_ratio=draw(st.sampled_from([None, 1.0, 1.5])),
        reserved_memory_mb={first.id: draw(st.integers(0, 20))} if draw(st.booleans()) else {},
        reserved_huge_pages=reserved,
        packing=draw(st.sampled_from(list(PackingPolicy))),
    )


@st.composite
def requests(draw: st.DrawFn, *, most_cells: int = 4, most_vcpus: int = 6) -> Request:
    """A request that some host could serve: floating, pinned, mixed; even or spelled-out cells; pages; realtime."""
    cells = draw(st.integers(1, most_cells))
    per_cell = [draw(st.sampled_from([1, 2, 2, *range(3, most_vcpus + 1)])) for _ in range(cells)]
    mib = [draw(st.sampled_from([2, 2, 4, 6, 8, 40])) for _ in range(cells)]
    if draw(st.booleans()):
        per_cell, mib = per_cell[:1] * cells, mib[:1] * cells
    vcpus = sum(per_cell)
    policy = draw(st.sampled_from(["shared", "dedicated", "dedicated", "dedicated", "mixed"]))
    specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": policy, "hw:numa_nodes": str(cells)}
    first = 0
    for number, (count, size) in enumerate(zip(per_cell, mib, strict=True)):
        specs[f"hw:numa_cpus.{number}"] = f"{first}-{first + count - 1}"
        specs[f"hw:numa_mem.{number}"] = str(size)
        first += count
    if len(set(per_cell)) == len(set(mib)) == 1 and draw(st.booleans()):
        specs = {key: value for key, value in specs.items() if "numa_cpus" not in key and "numa_mem" not in key}
    if policy == "mixed":
        if vcpus == 1:
            specs["hw:cpu_policy"] = policy = "dedicated"
        else:
            # vCPU 0 is dedicated, so that guest cell 0 has one beside which an emulator can be kept
            specs["hw:cpu_dedicated_mask"] = f"0-{draw(st.integers(0, vcpus - 2))}"
    if policy != "shared":
        thread = draw(st.sampled_from([None, "prefer", "isolate", "require"]))
        emulator = draw(st.sampled_from([None, None, "share", "isolate"]))
        specs |= {key: value for key, value in (("hw:cpu_thread_policy", thread),
                                                ("hw:emulator_threads_policy", emulator)) if value}  # fmt: skip
        if policy == "dedicated" and vcpus > 1 and draw(st.sampled_from([False, False, True])):
            specs |= {"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"}
    page = draw(st.sampled_from([None, None, None, None, "small", "large", "any", "2MB", "4"]))
    if page:
        specs["hw:mem_page_size"] = page
    return Request(name="g", flavor=Flavor(vcpus=vcpus, ram_mb=sum(mib), name="f", extra_specs=specs))
