"""A running guest onto other cells: its threads at once, then its pages, bounded and throttled.

In mode ``restrictive`` libvirt itself changes the cells and the kernel moves the pages.  In the other modes libvirt
refuses (its memory policy is QEMU's own, set by mbind), so: the cgroups of the guest may use both the old cells and the
new; the pages move piece by piece; then the cgroups may use the new cells alone, at which the kernel rewrites the
policies of the mappings (mpol_rebind_mm) and moves what is left.  libvirt's live XML goes on naming the old cells until
the next start; our metadata, which verify reads, and the configuration name the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.compute.change import change
from agent.compute.domains import State
from agent.compute.driver import Driver
from agent.compute.guest_state import apply_masks
from agent.compute.journal import Journal
from agent.compute.move_pages import Moved, Range, move_ranges, move_rest
from agent.compute.pin import Repinning
from agent.compute.prove import observe_host
from agent.compute.settle import settle_threads
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, CellwrightError
from agent.core.observation import Cgroup, ObservedGuest
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.domain.metadata import NAMESPACE
from agent.inspection.cpuset_mems import mems_file
from agent.inspection.files import Root


def apply_migration(
    libvirt: Driver,
    journal: Journal,
    plan: Repinning,
    old: Placement,
    *,
    mib_per_s: int,
    progress: Callable[[Moved], None],
) -> None:
    """Carry the plan out; when any step fails masks, configuration and cells are put back, and the pages with them."""
    name, new = plan.name, plan.placement
    if libvirt.domain(name).state not in (State.RUNNING, State.IDLE, State.PAUSED):
        raise BadInput(f"domain {name} does not run: pin it with --config instead")
    guest = _observe(libvirt, name)
    detail = f"cells {_cells(old)} to {_cells(new)}"
    with change(libvirt, journal, verb="migrate-cells", name=name, detail=detail):
        if plan.config is not None:
            libvirt.define(plan.config, name=name)
        if plan.masks is not None:
            apply_masks(libvirt, name, wanted=plan.masks, now=plan.before.masks)
        libvirt.set_metadata(name, NAMESPACE, plan.metadata, live=True, config=False)
        settle_threads(libvirt, name)
        if new.mempolicy is MemPolicy.RESTRICTIVE:
            libvirt.set_nodeset(name, _cells(new))
        else:
            _move_memory(guest, old, new, mib_per_s=mib_per_s, progress=progress)


def ranges_of(guest: ObservedGuest, new: Placement) -> tuple[Range, ...]:
    """The guest's memory as stretches with the cell that each belongs on; blocks that were not found are left out."""
    targets = {cell.guest_cell: cell.host_cell for cell in new.cells}
    found = []
    for ram in guest.memory.ram if guest.memory else ():
        cell = targets.get(ram.backend.guest_cell or 0)
        if cell is None or ram.identified_by is None or not ram.addresses:
            continue
        page_kib = max((pages.page_kib for pages in ram.pages), default=4)
        found.append(Range(min(ram.addresses), ram.backend.size_kib, page_kib, cell))
    return tuple(found)


def _observe(libvirt: Driver, name: str) -> ObservedGuest:
    observation, _ = observe_host(libvirt, names=[name])
    guest = next((one for one in observation.guests if one.name == name), None)
    if guest is None or guest.pid is None or guest.memory is None:
        raise CellwrightError(f"domain {name}: its memory cannot be read, so it cannot be moved")
    return guest


def _move_memory(
    guest: ObservedGuest, old: Placement, new: Placement, *, mib_per_s: int, progress: Callable[[Moved], None]
) -> None:
    if guest.pid is None:
        return
    with _mems(guest.cgroups, before=_cells(old), after=_cells(new)):
        move_ranges(guest.pid, ranges_of(guest, new), mib_per_s=mib_per_s, progress=progress)
        if len(new.cells) == 1:
            move_rest(guest.pid, source=old.cells[0].host_cell, target=new.cells[0].host_cell)


@contextmanager
def _mems(cgroups: tuple[Cgroup, ...], *, before: CpuSet, after: CpuSet) -> Iterator[None]:
    """Cells old and new while the body runs, the new ones afterwards, the old ones again when it fails.

    Only cgroups that were held to the old cells are changed: widened from the top, narrowed from the bottom.
    """
    held = sorted((one for one in cgroups if one.mems and one.mems == before), key=lambda one: len(one.path))
    try:
        for cgroup in held:
            _write_mems(cgroup, before | after)
        yield
        for cgroup in reversed(held):
            _write_mems(cgroup, after)
    except BaseException:
        for cgroup in held:
            _write_mems(cgroup, before | after)
        for cgroup in reversed(held):
            _write_mems(cgroup, before)
        raise


def _write_mems(cgroup: Cgroup, cells: CpuSet) -> None:
    path = mems_file(Root(), cgroup)
    try:
        path.write_text(f"{cells}\n")
    except OSError as why:
        raise CellwrightError(f"{path}: {cells} cannot be written: {why.strerror}") from why


def _cells(placement: Placement) -> CpuSet:
    return CpuSet(cell.host_cell for cell in placement.cells)
