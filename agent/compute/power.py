"""Which idle dedicated pCPUs sleep, or clock down: Nova's cpu_power_management, decided from who may run where.

Strategy ``cpu_state`` takes a pCPU offline while no guest may run on it; ``governor`` gives it another cpufreq
governor.  Only pCPUs that are dedicated and not shared are touched, and pCPU 0 never (Nova: ``nova/virt/libvirt/cpu``).
A pCPU that sleeps is as free as any other: the topology is reported as if it ran, and it is woken before a guest is
started there.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from agent.compute.usage import Claimant, pins_of
from agent.core.cpuset import CpuSet
from agent.core.placement import Placement
from agent.core.topology import Cell, HostTopology
from agent.inspection.cpu_power import governor_file, online_file
from agent.settings.agent import AgentSettings


def managed_pcpus(host: HostTopology) -> CpuSet:
    """The pCPUs that may sleep: dedicated by the operator's word, not shared, and not pCPU 0."""
    return (host.dedicated_set or CpuSet()) - (host.shared_set or CpuSet()) - CpuSet([0])


def plan_power(settings: AgentSettings, host: HostTopology, *, used: CpuSet, awake: CpuSet) -> dict[str, str]:
    """File → text for every managed pCPU that should not be as it is by default.

    ``used`` are pCPUs on which a guest may run, or a defined one would; ``awake`` those that stay on for other reasons.
    """
    managed = managed_pcpus(host) if settings.cpu_power_management else CpuSet()
    if settings.cpu_power_management_strategy == "cpu_state":
        return {online_file(cpu): "0" for cpu in managed - used - awake}
    low, high = settings.cpu_power_governor_low, settings.cpu_power_governor_high
    return {governor_file(cpu): high if cpu in used else low for cpu in managed}


def named_pcpus(placement: Placement, host: HostTopology) -> CpuSet:
    """The pCPUs that a guest was given: owned, pinned to, its emulator's; a thread that may go anywhere has none."""
    named = [placement.owned(), placement.emulator, *pins_of(placement).values(), *placement.iothreads.values()]
    return CpuSet(cpu for cpus in named if not host.usable() <= cpus for cpu in cpus)


def given_pcpus(claimants: Collection[Claimant], host: HostTopology) -> CpuSet:
    """The same of many guests."""
    return CpuSet(cpu for one in claimants for cpu in named_pcpus(one.placement, host))


def with_asleep(now: HostTopology, whole: HostTopology, asleep: CpuSet) -> HostTopology:
    """The host as it is now, with the pCPUs that sleep where they were when all of them ran (``whole``)."""
    asleep = asleep & now.offline
    if not asleep:
        return now
    cells = {cell.id: cell for cell in now.cells}
    merged = [_woken(cells.get(cell.id), cell) for cell in whole.cells]
    return msgspec.structs.replace(
        now,
        online=now.online | asleep,
        offline=now.offline - asleep,
        allowed=None if now.allowed is None else now.allowed | (asleep & (whole.allowed or CpuSet())),
        sockets=whole.sockets,
        dies=whole.dies,
        cores=whole.cores,
        threads_per_core=whole.threads_per_core,
        smt=whole.smt,
        cells=tuple(merged),
        outside_cells=whole.outside_cells,
        unknown=whole.unknown,
    )


def _woken(now: Cell | None, whole: Cell) -> Cell:
    """A cell's memory, pages and devices of now with the pCPUs, cores and caches of then."""
    if now is None:
        return whole
    return msgspec.structs.replace(now, cpus=whole.cpus, cores=whole.cores, caches=whole.caches)
