"""Whether a placement that was made elsewhere can be carried out on this host, as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from agent.compute.usage import Claimant, find_overlaps, pins_of
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import Misfit, Placement, Reason
from agent.core.topology import HostTopology


def check_placement(placement: Placement, host: HostTopology, claimants: Sequence[Claimant]) -> Placement | Misfit:
    """The placement itself, or a Misfit that names the guests which own some of its pCPUs by now.

    BadInput when it was made for another host, or names pCPUs or cells that this host does not have.
    """
    who = f"placement of {placement.name}"
    if placement.host != host.hostname:
        raise BadInput(f"{who}: it was made for host {placement.host!r}, this is {host.hostname!r}")
    cells = {cell.id for cell in host.cells}
    for cell in placement.cells:
        if cell.host_cell not in cells:
            raise BadInput(f"{who}: cell {cell.host_cell} is not on this host; its cells: {sorted(cells)}")
    named = CpuSet(cpu for cpus in pins_of(placement).values() for cpu in cpus)
    named = named | placement.emulator | placement.reserved
    for cpus in placement.iothreads.values():
        named = named | cpus
    if outside := named - host.online:
        raise BadInput(f"{who}: pCPUs {outside} are not online on this host; online: {host.online}")
    overlaps = find_overlaps(placement.name, placement.owned(), claimants)
    if not overlaps:
        return placement
    return Misfit(
        host=host.hostname,
        name=placement.name,
        misfits=tuple(Reason(code="pcpus-taken", message=one.message) for one in overlaps),
    )
