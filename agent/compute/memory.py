"""Bring a running guest's memory to the cells that its metadata names, bounded and throttled.

In mode ``restrictive`` libvirt itself changes the cells and the kernel moves the pages.  In the other modes libvirt
refuses (its memory policy is QEMU's own, set by mbind), so: the guest's cgroups may use both the old cells and the new;
the pages move piece by piece; then the cgroups may use the new cells alone, at which the kernel rewrites the policies
of the mappings (mpol_rebind_mm) and moves what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from agent.compute.driver import Driver
from agent.compute.move_pages import Moved, Range, move_ranges, move_rest
from agent.compute.prove import observe_host
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.observation import Cgroup, ObservedGuest
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.domain.parse import parse_intent
from agent.inspection.cpuset_mems import mems_file
from agent.inspection.files import Root

USUAL_MIB_PER_S = 1024


def settle_memory(
    libvirt: Driver,
    name: str,
    *,
    mib_per_s: int = USUAL_MIB_PER_S,
    progress: Callable[[Moved], None] = lambda _moved: None,
) -> None:
    """Move the pages of a running guest of ours to where its live metadata says; a foreign guest's stay."""
    intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
    if intent is None or not intent.placement.cells:
        return
    wanted = intent.placement
    if wanted.mempolicy is MemPolicy.RESTRICTIVE:
        libvirt.set_nodeset(name, cells_of(wanted))
        return
    observation, _ = observe_host(libvirt, names=[name])
    guest = next((one for one in observation.guests if one.name == name), None)
    if guest is None or guest.pid is None or guest.memory is None:
        raise CellwrightError(f"domain {name}: its memory cannot be read, so it cannot be moved")
    held = held_cgroups(guest)
    with _mems(held, after=cells_of(wanted)):
        move_ranges(guest.pid, ranges_of(guest, wanted), mib_per_s=mib_per_s, progress=progress)
        if len(wanted.cells) == 1:
            target = wanted.cells[0].host_cell
            for source in sorted({pages.host_cell for pages in guest.memory.sums.cells} - {target}):
                move_rest(guest.pid, source=source, target=target)


def cells_of(placement: Placement) -> CpuSet:
    """The host cells of a placement, as libvirt's nodesets are written."""
    return CpuSet(cell.host_cell for cell in placement.cells)


def ranges_of(guest: ObservedGuest, wanted: Placement) -> tuple[Range, ...]:
    """The guest's memory as stretches with the cell that each belongs on; blocks that were not found are left out."""
    targets = {cell.guest_cell: cell.host_cell for cell in wanted.cells}
    found = []
    for ram in guest.memory.ram if guest.memory else ():
        cell = targets.get(ram.backend.guest_cell or 0)
        if cell is None or ram.identified_by is None or not ram.addresses:
            continue
        page_kib = max((pages.page_kib for pages in ram.pages), default=4)
        found.append(Range(min(ram.addresses), ram.backend.size_kib, page_kib, cell))
    return tuple(found)


def held_cgroups(guest: ObservedGuest) -> tuple[Cgroup, ...]:
    """The cgroups that the guest's own threads are in and that hold them to some cells."""
    own = {thread.cgroup for thread in guest.threads}
    return tuple(one for one in guest.cgroups if one.path in own and one.mems)


@contextmanager
def _mems(cgroups: Sequence[Cgroup], *, after: CpuSet) -> Iterator[None]:
    """All cells, old and new, while the body runs; the new ones afterwards, the old ones again when it fails."""
    try:
        for cgroup in cgroups:
            _write_mems(cgroup, (cgroup.mems or CpuSet()) | after)
        yield
        for cgroup in cgroups:
            _write_mems(cgroup, after)
    except BaseException:
        for cgroup in cgroups:
            _write_mems(cgroup, cgroup.mems or CpuSet())
        raise


def _write_mems(cgroup: Cgroup, cells: CpuSet) -> None:
    path = mems_file(Root(), cgroup)
    try:
        path.write_text(f"{cells}\n")
    except OSError as why:
        raise CellwrightError(f"{path}: {cells} cannot be written: {why.strerror}") from why
