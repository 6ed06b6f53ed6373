"""Which host caches the shares of ``cw:cachetune`` and ``cw:memorytune`` are cut from: those behind the guest's pCPUs.

The kernel's resource control (resctrl) numbers both by the id of the last-level cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.guest import BandwidthWish, CacheWish
from agent.core.misfit import Code
from agent.core.placement import BandwidthShare, CacheShare, Misfit, Placement, Reason
from agent.core.topology import Cache
from agent.core.units import format_kib
from agent.placement.layout import Layout


def add_shares(
    layout: Layout, placement: Placement, *, caches: Sequence[CacheWish], bandwidths: Sequence[BandwidthWish]
) -> Placement | Misfit:
    """The placement with its shares; a Misfit where a cache is too small, or the host does not tell its caches."""
    wanted = [wish.vcpus for wish in caches] + [wish.vcpus for wish in bandwidths]
    caches_of = {vcpus: behind(layout, placement, vcpus) for vcpus in wanted}
    if not all(caches_of.values()):
        message = f"host {layout.hostname} does not tell the ids of the L3 caches behind the guest's pCPUs"
        return _misfit(placement, Reason(code=Code.NO_CACHE_IDS, message=message))
    cut: list[CacheShare] = []
    for wish in caches:
        for number, cache in caches_of[wish.vcpus].items():
            if cache.size_kib is not None and cache.size_kib < wish.size_kib:
                return _misfit(placement, _too_small(number, cache.size_kib, wish.size_kib))
            cut.append(CacheShare(wish.vcpus, number, wish.size_kib, cache.level, wish.type))
    limited = [
        BandwidthShare(wish.vcpus, number, wish.percent) for wish in bandwidths for number in caches_of[wish.vcpus]
    ]
    return msgspec.structs.replace(placement, cache_shares=tuple(cut), bandwidth_shares=tuple(limited))


def suitable_pcpus(layout: Layout, caches: Sequence[CacheWish]) -> int:
    """The mask of pCPUs behind L3 caches that tell their ids and are large enough for every share."""
    wanted_kib = max((wish.size_kib for wish in caches), default=0)
    mask = 0
    for cache in layout.l3_caches:
        if cache.id is not None and (cache.size_kib is None or cache.size_kib >= wanted_kib):
            mask |= cache.cpus.mask
    return mask


def move_shares(layout: Layout, placement: Placement) -> Placement | Misfit:
    """A placement that has changed its pCPUs, with its shares cut from the caches behind those."""
    caches = dict.fromkeys(CacheWish(one.vcpus, one.size_kib, one.type) for one in placement.cache_shares)
    bandwidths = dict.fromkeys(BandwidthWish(one.vcpus, one.percent) for one in placement.bandwidth_shares)
    return add_shares(layout, placement, caches=tuple(caches), bandwidths=tuple(bandwidths))


def behind(layout: Layout, placement: Placement, vcpus: CpuSet) -> dict[int, Cache]:
    """The L3 caches that the pCPUs of these vCPUs share, by the kernel's id; one that spans cells comes once.

    None at all where the id of any of them is not told.
    """
    pins = {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items()}
    mask = 0
    for vcpu in vcpus:
        mask |= pins.get(vcpu, placement.emulator).mask
    found = [(cache.id, cache) for cache in layout.l3_caches if cache.id is not None and cache.cpus.mask & mask]
    for _, cache in found:
        mask &= ~cache.cpus.mask
    return {} if mask else dict(sorted(found, key=lambda one: one[0]))


def _too_small(number: int, size_kib: int, wanted_kib: int) -> Reason:
    return Reason(
        code=Code.CACHE_TOO_SMALL,
        message=f"L3 cache {number} has {format_kib(size_kib)} for the {format_kib(wanted_kib)} wanted",
        wanted=wanted_kib,
        available=size_kib,
    )


def _misfit(placement: Placement, reason: Reason) -> Misfit:
    return Misfit(host=placement.host, name=placement.name, misfits=(reason,))
