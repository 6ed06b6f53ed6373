"""The host line for line as ``numactl --hardware`` (numactl 2.0.16) prints it, for scripts that read that."""

from __future__ import annotations

from agent.core.cpulist import format_ids
from agent.core.topology import HostTopology


def render_numactl(host: HostTopology) -> str:
    """Cells with their CPUs, memory and free memory in MB (MiB), and the distances.

    Of a cell whose memory is not known, size and free say ``<not available>``, as numactl's do.
    """
    ids = [cell.id for cell in host.cells]
    lines = [f"available: {len(ids)} nodes ({format_ids(ids)})"]
    for cell in host.cells:
        # numactl ends the list of CPUs, but not a list without any, with a blank
        lines.append(f"node {cell.id} cpus:" + "".join(f" {cpu}" for cpu in cell.cpus))
        lines.append(f"node {cell.id} size: {_mb(cell.memory_kib)}")
        lines.append(f"node {cell.id} free: {_mb(cell.free_kib)}")
    # numactl takes a kernel without NUMA for one node, 10 from itself, and a distance of 0 for not known
    no_numa = len(ids) == 1 and any(phrase.startswith("NUMA") for phrase in host.unknown)
    distances = {cell.id: cell.distances or ({cell.id: 10} if no_numa else {}) for cell in host.cells}
    if not ids or not distances[ids[-1]].get(ids[0]):
        lines.append("No distance information available.")
    else:
        lines += ["node distances:", "node " + "".join(f"{one: 3d} " for one in ids)]
        for cell in host.cells:
            lines.append(f"{cell.id: 3d}: " + "".join(f"{distances[cell.id].get(one, 0): 3d} " for one in ids))
    return "\n".join(lines) + "\n"


def _mb(kib: int | None) -> str:
    return "<not available>" if kib is None else f"{kib >> 10} MB"
