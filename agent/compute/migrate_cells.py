"""A running guest onto other cells: its configuration, its threads at once, then its pages.

libvirt's live XML goes on naming the old cells of strict memory until the next start; our metadata, which verify reads,
and the configuration name the new ones.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.compute.change import change
from agent.compute.driver import Driver
from agent.compute.guest_state import apply_masks
from agent.compute.journal import Journal
from agent.compute.memory import cells_of, settle_memory
from agent.compute.move_pages import Moved
from agent.compute.pin import Repinning
from agent.compute.settle import settle_threads
from agent.core.placement import Placement
from agent.domain.metadata import NAMESPACE


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
    with change(libvirt, journal, verb="migrate-cells", name=name, detail=detail):
        if plan.config is not None:
            libvirt.define(plan.config, name=name)
        if plan.masks is not None:
            apply_masks(libvirt, name, wanted=plan.masks, now=plan.before.masks)
        libvirt.set_metadata(name, NAMESPACE, plan.metadata, live=True, config=False)
        settle_threads(libvirt, name)
        settle_memory(libvirt, name, mib_per_s=mib_per_s, progress=progress)
