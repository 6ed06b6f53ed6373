"""Which host caches the shares of ``cw:cachetune`` and ``cw:memorytune`` are cut from: those behind the guest's pCPUs.

The kernel's resource control (resctrl) numbers both by the id of the last-level cache.
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.guest import GuestTopology
from agent.core.misfit import Code
from agent.core.placement import BandwidthShare, CacheShare, Misfit, Placement, Reason
from agent.core.topology import Cache
from agent.core.units import format_kib
from agent.placement.layout import Layout


def add_shares(layout: Layout, guest: GuestTopology, placement: Placement) -> Placement | Misfit:
    """The placement with its shares; a Misfit where a cache is too small, or the host does not tell its caches."""
    caches_of = {wish.vcpus: behind(layout, placement, wish.vcpus) for wish in guest.cache_wishes}
    caches_of |= {wish.vcpus: behind(layout, placement, wish.vcpus) for wish in guest.bandwidth_wishes}
    if not all(caches_of.values()):
        message = f"host {layout.hostname} does not tell the ids of the L3 caches behind the guest's pCPUs"
        return _misfit(placement, Reason(code=Code.NO_CACHE_IDS, message=message))
    caches: list[CacheShare] = []
    for wish in guest.cache_wishes:
        for number, cache in caches_of[wish.vcpus].items():
            if cache.size_kib is not None and cache.size_kib < wish.size_kib:
                return _misfit(placement, _too_small(number, cache.size_kib, wish.size_kib))
            caches.append(CacheShare(wish.vcpus, number, wish.size_kib, cache.level, wish.type))
    bandwidths = [
        BandwidthShare(wish.vcpus, number, wish.percent)
        for wish in guest.bandwidth_wishes
        for number in caches_of[wish.vcpus]
    ]
    return msgspec.structs.replace(placement, cache_shares=tuple(caches), bandwidth_shares=tuple(bandwidths))


def behind(layout: Layout, placement: Placement, vcpus: CpuSet) -> dict[int, Cache]:
    """The L3 caches that the pCPUs of these vCPUs share, by the kernel's id; one that spans cells comes once."""
    pins = {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}
    mask = 0
    for vcpu in vcpus:
        mask |= pins.get(vcpu, placement.emulator).mask
    found = [(cache.id, cache) for cache in layout.l3_caches if cache.id is not None and cache.cpus.mask & mask]
    return dict(sorted(found, key=lambda one: one[0]))


def _too_small(number: int, size_kib: int, wanted_kib: int) -> Reason:
    return Reason(
        code=Code.CACHE_TOO_SMALL,
        message=f"L3 cache {number} has {format_kib(size_kib)} for the {format_kib(wanted_kib)} wanted",
        wanted=wanted_kib,
        available=size_kib,
    )


def _misfit(placement: Placement, reason: Reason) -> Misfit:
    return Misfit(host=placement.host, name=placement.name, misfits=(reason,))
