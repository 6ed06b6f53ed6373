"""The Usage document (``cellwright.usage/1``): what guests hold on one host; and Limits, what they may hold.

Usage is the sum of all claims.  Sizes are KiB, page counts are pages.
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.policy import PackingPolicy


class PageUse(msgspec.Struct, frozen=True):
    """How many pages of one size guests hold on a cell."""

    size_kib: int
    used: int


class CellUsage(msgspec.Struct, frozen=True):
    """What guests hold on one cell; ``pinned`` has every owned pCPU, siblings kept idle included."""

    id: int
    pinned: CpuSet = CpuSet()
    floating_vcpus: int = 0
    memory_kib: int = 0
    pages: tuple[PageUse, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """What guests hold on a host.  A cell that is not listed is unused."""

    cells: tuple[CellUsage, ...] = ()
    schema: str = "cellwright.usage/1"


class ReservedPages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``reserved_huge_pages``: pages of one size on one cell that guests may not have."""

    cell: int
    size_kib: int
    count: int


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far floating guests may overcommit, what the host keeps for itself, and how the operator wants cells filled.

    ``reserved_memory_mb`` is per cell, in MiB.  Ratios bind floating guests only.
    """

    cpu_allocation_ratio: float | None = None
    ram_allocation_ratio: float | None = None
    reserved_memory_mb: dict[int, int] = {}
    reserved_huge_pages: tuple[ReservedPages, ...] = ()
    packing: PackingPolicy = PackingPolicy.BALANCED
