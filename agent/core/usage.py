"""The Usage document (``cellwright.usage/1``): what guests hold on one host; and Limits, what they may hold.

Usage is the sum of all claims.  Sizes are KiB, page counts are pages.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.policy import PackingPolicy
from agent.core.topology import PageSize, Size

Ratio = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class PageUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many pages of one size guests hold on a cell."""

    size_kib: PageSize
    used: Size


class CellUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What guests hold on one cell; ``pinned`` has every owned pCPU, siblings kept idle included."""

    id: int
    pinned: CpuSet = CpuSet()
    floating_vcpus: Size = 0
    memory_kib: Size = 0
    pages: tuple[PageUse, ...] = ()

    def __post_init__(self) -> None:
        if self.floating_vcpus < 0 or self.memory_kib < 0 or any(page.used < 0 for page in self.pages):
            raise ValueError(f"cell {self.id}: guests cannot hold less than nothing")
        if not self.pages:
            return
        pages = tuple(sorted((page for page in self.pages if page.used), key=lambda page: page.size_kib))
        if len({page.size_kib for page in pages}) < len(pages):
            raise ValueError(f"cell {self.id}: a page size is listed twice")
        msgspec.structs.force_setattr(self, "pages", pages)


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What guests hold on a host; ``devices`` are the PCI addresses they were given.

    A cell or page size that is not listed is unused, and the other way round: a value lists only what is used, in
    order, so that two usages are equal exactly when guests hold the same.
    """

    cells: tuple[CellUsage, ...] = ()
    devices: tuple[str, ...] = ()
    schema: str = "cellwright.usage/1"

    def __post_init__(self) -> None:
        cells = tuple(sorted((cell for cell in self.cells if cell != CellUsage(cell.id)), key=lambda cell: cell.id))
        if len({cell.id for cell in cells}) < len(cells):
            raise ValueError("a cell is listed twice")
        msgspec.structs.force_setattr(self, "cells", cells)
        msgspec.structs.force_setattr(self, "devices", tuple(sorted(self.devices)))


class ReservedPages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reserved_huge_pages``: pages of one size on one cell that guests may not have."""

    cell: Size
    size_kib: PageSize
    count: Size


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far floating guests may overcommit, what the host keeps for itself, and how the operator wants cells filled.

    ``reserved_memory_mb`` is per cell, in MiB.  Ratios bind floating guests only.
    """

    cpu_allocation_ratio: Ratio | None = None
    ram_allocation_ratio: Ratio | None = None
    reserved_memory_mb: dict[Size, Size] = {}
    reserved_huge_pages: tuple[ReservedPages, ...] = ()
    packing: PackingPolicy = PackingPolicy.BALANCED
