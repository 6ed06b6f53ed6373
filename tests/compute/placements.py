"""Placements on this very machine, whatever it has: the tests need two pCPUs and cell 0."""

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy, MemPolicy
from agent.inspection.host import read_host

HOST = read_host()
FIRST, SECOND = list(HOST.online)[:2]


def dedicated(name: str, *pcpus: int, iothreads: dict[int, CpuSet] | None = None) -> Placement:
    """One vCPU on each of ``pcpus``, 64 MiB on the first one's cell."""
    cell = next(cell for cell in HOST.cells if pcpus[0] in cell.cpus)
    return Placement(
        host=HOST.hostname,
        name=name,
        vcpus=len(pcpus),
        memory_kib=65536,
        cells=(
            PlacedCell(
                guest_cell=0,
                host_cell=cell.id,
                vcpus=CpuSet(range(len(pcpus))),
                memory_kib=65536,
                policy=CpuPolicy.DEDICATED,
                pins={vcpu: CpuSet([cpu]) for vcpu, cpu in enumerate(pcpus)},
            ),
        ),
        emulator=CpuSet(pcpus),
        iothreads=iothreads or {},
        mempolicy=MemPolicy.STRICT,
        cpu_topology=CpuTopology(len(pcpus), 1, 1),
    )


def with_pins(placement: Placement, *pcpus: int) -> Placement:
    """The same placement with its vCPUs on other pCPUs."""
    (cell,) = placement.cells
    pins = {vcpu: CpuSet([cpu]) for vcpu, cpu in enumerate(pcpus)}
    return msgspec.structs.replace(placement, cells=(msgspec.structs.replace(cell, pins=pins),))
