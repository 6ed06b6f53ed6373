"""What an existing domain amounts to as a request: its own size, guest cells and pages, with pCPUs of its own."""

from __future__ import annotations

import msgspec

from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.domain.document import Element
from agent.domain.parse import guest_cells, page_sizes
from agent.domain.scalars import iothread_ids, memory_kib, vcpu_count

KIB_PER_MIB = 1024


def wish_of(root: Element, *, source: str = "domain XML") -> Request:
    """The request that pins the domain as it is: vCPUs, memory, guest cells, huge pages and I/O threads stay.

    Its name is left out: a domain may have one that no request may.  Memory is rounded down to MiB.  BadInput where
    OpenStack's keys cannot say what the domain has: a request of the user's own then can.
    """
    vcpus = vcpu_count(root, source=source)
    ram_mb = memory_kib(root, source=source) // KIB_PER_MIB
    specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated"}
    cells = guest_cells(root, vcpus, source)
    if root.find("cpu/numa/cell") is not None:
        specs["hw:numa_nodes"] = len(cells)
        for number, cell in enumerate(cells):
            specs[f"hw:numa_cpus.{number}"] = str(cell.vcpus)
            specs[f"hw:numa_mem.{number}"] = cell.memory_kib // KIB_PER_MIB
        ram_mb = sum(cell.memory_kib // KIB_PER_MIB for cell in cells)
    sizes = page_sizes(root, None, source)
    found = {sizes.get(cell.id, sizes.get(None)) for cell in cells}
    if len(found) > 1:
        raise BadInput(f"{source}: its guest cells have pages of different sizes; say what is wanted with --request")
    if page_kib := found.pop():
        specs["hw:mem_page_size"] = page_kib
    threads = iothread_ids(root, source=source)
    if threads != list(range(1, len(threads) + 1)):
        raise BadInput(f"{source}: its I/O threads are {threads}, not 1, 2, 3 …; say what is wanted with --request")
    if threads:
        specs["cw:iothreads"] = len(threads)
    policy = root.find("numatune/memory")
    if policy is not None:
        specs["hw:numa_mempolicy"] = policy.get("mode", "strict")
    return Request(flavor=Flavor(vcpus=vcpus, ram_mb=ram_mb, extra_specs=specs))


def keep_own(placement: Placement, claims: Placement) -> Placement:
    """The placement with what the domain has beside its pins: sockets, classes, locked memory, devices and shares."""
    return msgspec.structs.replace(
        placement,
        cpu_topology=claims.cpu_topology,
        realtime=claims.realtime,
        schedules=claims.schedules,
        locked=claims.locked,
        devices=claims.devices,
        cache_shares=claims.cache_shares,
        bandwidth_shares=claims.bandwidth_shares,
    )
