"""One host read twice, by us from the kernel and by somebody else: every fact on which the two disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from agent.core.cpulist import format_ids
from agent.core.cpuset import CpuSet
from agent.core.topology import Cell, HostTopology
from agent.core.units import format_kib


class Disagreement(msgspec.Struct, frozen=True):
    """A fact, what each side says of it, and why we believe our own side."""

    fact: str
    ours: str
    theirs: str
    why: str


OFFLINE = "the kernel's online file decides, which was read just now"
OFFLINE_SOCKET = "the kernel has no package for an offline pCPU"
SOCKETS = "the kernel's package ids and core_siblings decide, which were read just now"
CELLS = "the kernel's node folders decide"
SIBLINGS = "the kernel's thread_siblings_list decides"
MEMORY = "MemTotal of the cell's meminfo decides; libvirt reads it when it starts"
DISTANCES = "the cell's distance file decides"
POOLS = "nr_hugepages of the cell was read just now"


def check_against(
    ours: HostTopology, theirs: HostTopology, *, offline_sockets: Mapping[int, int] | None = None
) -> tuple[Disagreement, ...]:
    """Disagreements about pCPUs, cells, sockets, siblings, memory, distances and huge pages, in that order.

    ``offline_sockets`` are the sockets that their document gives to pCPUs that do not run.  Facts that either side does
    not know are no disagreement; neither is free memory, which changes while one looks.
    """
    return tuple(_compare(ours, theirs, offline_sockets or {}))


def _compare(ours: HostTopology, theirs: HostTopology, offline_sockets: Mapping[int, int]) -> Iterator[Disagreement]:
    yield from _fact("online pCPUs", str(ours.online), str(theirs.online), OFFLINE)
    for socket in sorted(set(offline_sockets.values())):
        dead = ours.offline & CpuSet(cpu for cpu, given in offline_sockets.items() if given == socket)
        if dead:
            yield Disagreement(f"socket of offline pCPUs {dead}", "none", str(socket), OFFLINE_SOCKET)
    mine, other = ({cell.id: cell for cell in host.cells} for host in (ours, theirs))
    yield from _fact("cells", format_ids(mine), format_ids(other), CELLS)
    common = [(mine[number], other[number]) for number in sorted(set(mine) & set(other))]
    for a, b in common:
        yield from _fact(f"pCPUs of cell {a.id}", str(a.cpus), str(b.cpus), OFFLINE)
    yield from _fact("sockets", _sockets(ours), _sockets(theirs), SOCKETS)
    yield from _fact("siblings", _siblings(ours), _siblings(theirs), SIBLINGS)
    for a, b in common:
        if a.memory_kib is not None and b.memory_kib is not None:
            yield from _fact(f"memory of cell {a.id}", f"{a.memory_kib} KiB", f"{b.memory_kib} KiB", MEMORY)
        if a.distances and b.distances:
            yield from _fact(f"distances of cell {a.id}", _distances(a), _distances(b), DISTANCES)
        theirs_too = {pool.size_kib for pool in b.huge_pools()}
        sizes = [pool.size_kib for pool in a.huge_pools() if pool.size_kib in theirs_too]
        for size in sizes:
            counts = [next(pool.total for pool in cell.pages if pool.size_kib == size) for cell in (a, b)]
            yield from _fact(f"{format_kib(size)} pages of cell {a.id}", str(counts[0]), str(counts[1]), POOLS)


def _fact(fact: str, ours: str | None, theirs: str | None, why: str) -> Iterator[Disagreement]:
    if ours is not None and theirs is not None and ours != theirs:
        yield Disagreement(fact, ours or "none", theirs or "none", why)


def _sockets(host: HostTopology) -> str | None:
    """Which pCPUs share a socket; None when not every core tells."""
    masks: dict[int, int] = {}
    for cell in host.cells:
        for core in cell.cores:
            if core.socket is None:
                return None
            masks[core.socket] = masks.get(core.socket, 0) | core.cpus.mask
    return " | ".join(str(CpuSet.of_mask(mask)) for mask in sorted(masks.values(), key=lambda mask: mask & -mask))


def _siblings(host: HostTopology) -> str:
    shared = {core.cpus.mask for cell in host.cells for core in cell.cores if len(core.cpus) > 1}
    return " | ".join(str(CpuSet.of_mask(mask)) for mask in sorted(shared, key=lambda mask: mask & -mask)) or "no SMT"


def _distances(cell: Cell) -> str:
    return " ".join(f"{other}:{distance}" for other, distance in sorted(cell.distances.items()))
