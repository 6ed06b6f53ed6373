"""A host compiled to bit masks once, so that every fit on it is a few machine words of arithmetic.

Cells are numbered by their place among the cells sorted by id; a mask has bit N set for pCPU N.  The layout does not
depend on the order in which cells, cores or caches are listed.
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.topology import LARGEST_BASE_PAGE_KIB, Cache, Cell, Core, Device, HostTopology

FAR = 255
"""The distance of cells whose distance is not known: the farthest the ACPI SLIT can say."""

FAST_KIND = "performance"


class CellLayout(msgspec.Struct, frozen=True):
    """One cell.  ``cores`` are masks of dedicated siblings, core by core, and ``threads`` lists them;
    ``isolable`` are those of cores with no sibling that a floating guest or nobody knows who could use.

    ``threads_per_core`` counts the siblings that guests may use at all, as Nova does: a host whose dedicated set has
    one thread of each core, and whose other threads are in no set, has no SMT as far as guests see.
    ``group_masks`` are the dedicated pCPUs of each L3 group, ``l3_masks`` all its pCPUs.
    """

    id: int
    index: int
    cpus: int
    dedicated: int
    shared: int
    shared_set: CpuSet
    cores: tuple[int, ...]
    threads: dict[int, tuple[int, ...]]
    isolable: tuple[int, ...]
    fast: int
    group_masks: tuple[int, ...]
    l3_masks: tuple[int, ...]
    threads_per_core: int
    memory_kib: int
    memory_known: bool
    pools: tuple[tuple[int, int], ...]
    sockets: frozenset[int | None]
    devices: tuple[Device, ...]
    device_count: int

    @property
    def legacy(self) -> bool:
        """One set serves both kinds of guests, as ``vcpu_pin_set`` made it."""
        return self.dedicated == self.shared


class Layout(msgspec.Struct, frozen=True, dict=True):
    """The host: its cells by id, distances by index, and each cell's nearest other cell (its partner)."""

    hostname: str
    cells: tuple[CellLayout, ...]
    distances: tuple[tuple[int, ...], ...]
    partners: tuple[int | None, ...]
    online: int
    floating: CpuSet
    shared_configured: bool
    single: dict[int, CpuSet]
    loose_devices: tuple[Device, ...]
    l3_caches: tuple[Cache, ...]


def layout_of(host: HostTopology) -> Layout:
    """The compiled host; compiled at the first question and kept with the value it belongs to."""
    kept: Layout | None = host.__dict__.get("_layout")
    if kept is None:
        kept = host.__dict__["_layout"] = compile_layout(host)
    return kept


def compile_layout(host: HostTopology) -> Layout:
    """Compile a host; the same host gives the same layout however its parts are ordered."""
    dedicated, shared = host.dedicated(), host.shared()
    cells = sorted(host.cells, key=lambda cell: cell.id)
    compiled = tuple(_compile_cell(index, cell, dedicated.mask, shared.mask) for index, cell in enumerate(cells))
    distances = tuple(tuple(_distance(one, other) for other in cells) for one in cells)
    return Layout(
        hostname=host.hostname,
        cells=compiled,
        distances=distances,
        partners=_partners(distances),
        online=host.online.mask,
        floating=_floating(host),
        shared_configured=bool(shared) and shared != dedicated,
        single={cpu: CpuSet((cpu,)) for cpu in host.online},
        loose_devices=tuple(sorted(host.unplaced_devices, key=_device_order)),
        l3_caches=tuple([cache for cell in cells for cache in cell.caches if cache.level == 3]),
    )


def _compile_cell(index: int, cell: Cell, dedicated: int, shared: int) -> CellLayout:
    usable = cell.cpus.mask & (dedicated | shared)
    listed = sorted(_cores(cell), key=lambda core: core.cpus.first())
    cores = [core for core in listed if core.cpus.mask & dedicated]
    l3_masks = _l3_masks(cell)
    threads = max(((core.cpus.mask & usable).bit_count() for core in listed), default=0) or 1
    return CellLayout(
        id=cell.id,
        index=index,
        cpus=cell.cpus.mask,
        dedicated=cell.cpus.mask & dedicated,
        shared=cell.cpus.mask & shared,
        shared_set=CpuSet.of_mask(cell.cpus.mask & shared),
        cores=tuple(core.cpus.mask & dedicated for core in cores),
        threads={core.cpus.mask & dedicated: tuple(core.cpus & CpuSet.of_mask(dedicated)) for core in cores},
        isolable=tuple(core.cpus.mask & dedicated for core in cores if _isolable(core, dedicated, usable, threads)),
        fast=sum(core.cpus.mask for core in listed if core.kind == FAST_KIND),
        group_masks=tuple(mask & dedicated for mask in l3_masks if mask & dedicated),
        l3_masks=l3_masks,
        threads_per_core=threads,
        memory_kib=cell.memory_kib or 0,
        memory_known=cell.memory_kib is not None,
        pools=_pools(cell),
        sockets=frozenset(core.socket for core in listed),
        devices=tuple(sorted(cell.devices, key=_device_order)),
        device_count=sum(device.kind != "other" for device in cell.devices),
    )


def _pools(cell: Cell) -> tuple[tuple[int, int], ...]:
    """Page size in KiB and pages of each pool; where only huge pages are known, no ordinary ones are there to give."""
    pools = sorted((pool.size_kib, pool.total) for pool in cell.pages)
    if cell.memory_kib is None and pools and pools[0][0] > LARGEST_BASE_PAGE_KIB:
        pools.insert(0, (4, 0))
    return tuple(pools)


def _isolable(core: Core, dedicated: int, usable: int, threads: int) -> bool:
    """Every sibling that guests use is dedicated, and either as many as cores here have, or all there are."""
    mine = core.cpus.mask & dedicated
    return mine == core.cpus.mask & usable and (mine.bit_count() == threads or mine == core.cpus.mask)


def _cores(cell: Cell) -> list[Core]:
    """The cell's cores within its CPUs; a CPU that no core lists is a core of its own."""
    cores = []
    left = cell.cpus.mask
    for core in cell.cores:
        mask = core.cpus.mask & left
        if mask:
            cores.append(msgspec.structs.replace(core, cpus=CpuSet.of_mask(mask)))
            left &= ~mask
    return cores + [Core(None, None, None, CpuSet((cpu,))) for cpu in CpuSet.of_mask(left)]


def _l3_masks(cell: Cell) -> tuple[int, ...]:
    """The cell's pCPUs by last-level cache, by lowest pCPU; what no cache covers is one more group."""
    left = cell.cpus.mask
    groups = []
    last = max((cache.level for cache in cell.caches), default=0)
    if last >= 3:
        for mask in sorted({cache.cpus.mask for cache in cell.caches if cache.level == last}, key=lambda m: m & -m):
            if mask & left:
                groups.append(mask & left)
                left &= ~mask
    return (*groups, left) if left else tuple(groups)


def _distance(one: Cell, other: Cell) -> int:
    return one.distances.get(other.id, 10 if one.id == other.id else FAR)


def _partners(distances: tuple[tuple[int, ...], ...]) -> tuple[int | None, ...]:
    """Pairs of cells, nearest first and then lowest; an odd cell out has no partner."""
    partners: list[int | None] = [None] * len(distances)
    pairs = [(row[b], a, b) for a, row in enumerate(distances) for b in range(a + 1, len(distances))]
    for _, a, b in sorted(pairs):
        if partners[a] is None and partners[b] is None:
            partners[a], partners[b] = b, a
    return tuple(partners)


def _floating(host: HostTopology) -> CpuSet:
    """Where a guest without cells floats: the shared set, else what is not dedicated, else every usable pCPU.

    The last two are for a host with a dedicated set alone: Nova's fit lets such guests pass, so they fit, and they are
    kept off dedicated pCPUs where any other is left.
    """
    return host.shared() or host.usable() - host.dedicated() or host.usable()


def _device_order(device: Device) -> tuple[str, str]:
    return device.pci or "", device.name
