"""A running guest onto other cells: its configuration, its threads at once, then its pages.

libvirt's live XML goes on naming the old cells of strict memory until the next start; our metadata, which verify reads,
and the configuration name the new ones.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.compute.change import MIGRATE, change
from agent.compute.driver import Driver
from agent.compute.guest_state import apply_masks
from agent.compute.journal import Journal
from agent.compute.memory import cells_of, settle_memory
from agent.compute.move_pages import Moved
from agent.compute.pin import Repinning
from agent.compute.settle import settle_threads
from agent.core.errors import BadInput
from agent.core.placement import Placement
from agent.domain.metadata import NAMESPACE


def check_order(old: Placement, new: Placement) -> None:
    """BadInput when guest cells change their order among the host cells, which memory cannot follow while it is used.

    A memory policy belongs to the process that set it.  The kernel rewrites it when the process's cpuset gets other
    cells, and then it keeps the order: the lowest cell becomes the lowest, and so on (mpol_rebind_nodemask in
    mm/mempolicy.c), so that two guest cells can never change places.
    """
    target = {cell.guest_cell: cell.host_cell for cell in new.cells}
    moves = sorted((cell.host_cell, target[cell.guest_cell]) for cell in old.cells)
    if [there for _, there in moves] == sorted(there for _, there in moves):
        return
    here, there = (",".join(str(move[side]) for move in moves) for side in (0, 1))
    raise BadInput(
        f"domain {old.name}: its memory on cells {here} cannot become memory on cells {there} while it runs: the kernel"
        f" keeps the order of cells.  Keep the order, or shut it down and place it again: cellwright pin {old.name}"
        " --config"
    )


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
    name = plan.name
    detail = f"cells {cells_of(old)} to {cells_of(plan.placement)}"
    with change(libvirt, journal, verb=MIGRATE, name=name, detail=detail, moves_pages=True, planned=plan.before):
        if plan.config is not None:
            libvirt.define(plan.config, name=name)
        if plan.masks is not None:
            apply_masks(libvirt, name, wanted=plan.masks, now=plan.before.masks)
        libvirt.set_metadata(name, NAMESPACE, plan.metadata, live=True, config=False)
        settle_threads(libvirt, name)
        settle_memory(libvirt, name, mib_per_s=mib_per_s, progress=progress)
