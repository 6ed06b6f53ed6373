"""Why a guest does not fit: the codes that a misfit's reasons carry, for programs; the message says it for people."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """One rule each.  ``wanted`` and ``available`` of the reason count what the comment names."""

    TOO_FEW_CELLS = "too-few-cells"  # guest cells, host cells
    CELLS_CONTENDED = "cells-contended"  # guest cells that compete, host cells that any of them fits on
    NOT_THE_CELL_WISHED = "not-the-cell-wished"  # cw:host_cells names another host cell
    NO_SUCH_CELL = "no-such-cell"  # cw:host_cells names a cell that the host does not have
    NO_SUCH_PAGES = "no-such-pages"  # the cell has no pool of the page size
    PAGES_DO_NOT_DIVIDE = "pages-do-not-divide"  # KiB of the guest cell, KiB of a page
    NOT_ENOUGH_PAGES = "not-enough-pages"  # KiB, KiB free in the best pool
    NOT_ENOUGH_MEMORY = "not-enough-memory"  # KiB, KiB
    MEMORY_UNKNOWN = "memory-unknown"  # KiB; nobody knows how much the cell has
    NOT_ENOUGH_PCPUS = "not-enough-pcpus"  # dedicated pCPUs, free ones
    NOT_ENOUGH_SIBLINGS = "not-enough-siblings"  # require: vCPUs, vCPUs that fit side by side
    NOT_ENOUGH_WHOLE_CORES = "not-enough-whole-cores"  # isolate: cores, cores with all siblings free
    NO_SMT = "no-smt"  # require on a cell with one thread a core
    HOST_HAS_SMT = "host-has-smt"  # an image's isolate on a cell with several threads a core and split sets
    NOTHING_BESIDE_EMULATOR = "nothing-beside-emulator"  # guest cell 0 has no dedicated vCPU
    NOTHING_TO_ISOLATE = "nothing-to-isolate"  # a guest cell of an isolate guest has no dedicated vCPU
    NOT_ENOUGH_SHARED = "not-enough-shared"  # floating vCPUs of the guest cell, shared pCPUs of the cell
    CPU_RATIO = "cpu-ratio"  # floating vCPUs, vCPUs left under cpu_allocation_ratio
    RAM_RATIO = "ram-ratio"  # KiB, KiB left under ram_allocation_ratio
    NOT_ENOUGH_IN_L3 = "not-enough-in-l3"  # dedicated pCPUs, free ones in the L3 groups wished for
    NO_SUCH_GUEST = "no-such-guest"  # cw:l3 names a guest that is not on the host
    TOO_LITTLE_LEFT = "too-little-left"  # vCPUs, or MiB of memory or disk, left on the host as a whole
    NOT_ENOUGH_DEVICES = "not-enough-devices"  # devices of an alias, free ones near enough
    NO_SUCH_PCPUS = "no-such-pcpus"  # cw:iothread_cpus names pCPUs that the host does not have
    NO_CACHE_IDS = "no-cache-ids"  # cw:cachetune or cw:memorytune on a host that does not tell the ids of its L3 caches
    CACHE_TOO_SMALL = "cache-too-small"  # KiB wanted of an L3 cache, KiB it has
