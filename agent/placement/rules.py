"""Does one guest cell fit on one host cell?  Nova's rules, in Nova's order, each with the number that decides.

Source: ``_numa_fit_instance_cell`` and ``_pack_instance_onto_cores`` of Nova 34.0.0, read as a specification; the fit
of several cells together is not Nova's (see ``assignment``).
"""

from __future__ import annotations

from agent.core.guest import GuestTopology, PageWish, Shape
from agent.core.misfit import Code
from agent.core.policy import CpuPolicy, ThreadPolicy
from agent.placement.room import CellRoom

SHARED, DEDICATED = CpuPolicy.SHARED, CpuPolicy.DEDICATED
ISOLATE, REQUIRE = ThreadPolicy.ISOLATE, ThreadPolicy.REQUIRE
"""Looked up once: a fit asks for them twenty times, and Python 3.11 takes 70 ns to find a member on its class."""

Refusal = tuple[Code, int | None, int | None]
"""The rule that said no, how much was wanted, how much there is."""


def find_refusal(room: CellRoom, guest: GuestTopology, shape: Shape, allowed: int) -> Refusal | None:
    """The first rule that keeps a guest cell of this shape off this host cell; None when it fits.

    ``allowed`` masks the pCPUs that the guest's wishes leave it (all of them, unless it has a wish about L3 groups).
    """
    refusal = _memory_refusal(room, guest, shape)
    if refusal is None and guest.cpu_policy is not SHARED:
        refusal = _dedicated_refusal(room, guest, shape, allowed)
    if refusal is None and guest.cpu_policy is not DEDICATED:
        refusal = _floating_refusal(room, shape)
    return refusal


def resolve_page(room: CellRoom, guest: GuestTopology, memory_kib: int) -> int | None:
    """The page size in KiB that the guest cell gets here: the largest that its wish allows and that has room."""
    for size in sizes_wished(room, guest):
        _, free = room.pools.get(size, (0, 0))
        if memory_kib % size == 0 and memory_kib <= free * size:
            return size
    return None


def sizes_wished(room: CellRoom, guest: GuestTopology) -> list[int]:
    """The cell's page sizes that the guest's wish allows, largest first."""
    sizes = sorted(room.pools, reverse=True)
    if guest.page is PageWish.ANY:
        return sizes
    if guest.page is PageWish.LARGE:
        return sizes[:-1]
    if guest.page is PageWish.SMALL:
        return sizes[-1:]
    return [guest.page] if isinstance(guest.page, int) and guest.page in room.pools else []


def _memory_refusal(room: CellRoom, guest: GuestTopology, shape: Shape) -> Refusal | None:
    memory_kib = shape.memory_kib
    if guest.page is not None:
        if resolve_page(room, guest, memory_kib) is not None:
            return None
        sizes = sizes_wished(room, guest)
        if not sizes:
            return Code.NO_SUCH_PAGES, None, None
        if all(memory_kib % size for size in sizes):
            return Code.PAGES_DO_NOT_DIVIDE, memory_kib, sizes[-1]
        return Code.NOT_ENOUGH_PAGES, memory_kib, max(room.pools[size][1] * size for size in sizes)
    owned = guest.cpu_policy is not SHARED
    if not room.pools:
        available = room.memory_free_kib if owned else room.memory_kib
    else:
        size = next(iter(room.pools))
        available = room.pools[size][owned] * size
        if memory_kib % size:
            return Code.PAGES_DO_NOT_DIVIDE, memory_kib, size
    if memory_kib <= available:
        return None
    known = room.cell.memory_known
    return (Code.NOT_ENOUGH_MEMORY, memory_kib, available) if known else (Code.MEMORY_UNKNOWN, memory_kib, None)


def _floating_refusal(room: CellRoom, shape: Shape) -> Refusal | None:
    shared = room.cell.shared.bit_count()
    if shape.floating > shared:
        return Code.NOT_ENOUGH_SHARED, shape.floating, shared
    if room.floating_limit is not None and room.floating_vcpus + shape.floating > room.floating_limit:
        return Code.CPU_RATIO, shape.floating, max(0, int(room.floating_limit) - room.floating_vcpus)
    if room.memory_limit_kib is not None and room.memory_used_kib + shape.memory_kib > room.memory_limit_kib:
        return Code.RAM_RATIO, shape.memory_kib, max(0, int(room.memory_limit_kib) - room.memory_used_kib)
    return None


def _dedicated_refusal(room: CellRoom, guest: GuestTopology, shape: Shape, allowed: int) -> Refusal | None:
    wanted = shape.dedicated + shape.extra
    free = room.free & allowed
    available = room.free_count if free == room.free else free.bit_count()
    if wanted > available:
        code = Code.NOT_ENOUGH_PCPUS if allowed & room.cell.cpus == room.cell.cpus else Code.NOT_ENOUGH_IN_L3
        return code, wanted, available
    if shape.extra and not shape.dedicated:
        return Code.NOTHING_BESIDE_EMULATOR, 1, 0
    return cores_refusal(room, guest, shape, free)


def cores_refusal(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> Refusal | None:
    """Whether the free pCPUs of ``free`` are enough as they come: in one L3 group where that is wished, in cores."""
    if guest.l3 is None or guest.l3.relation != "one":
        return shape_refusal(room, guest, shape, free)
    if any(shape_refusal(room, guest, shape, free & group) is None for group in room.cell.group_masks):
        return None
    most = max(((free & group).bit_count() for group in room.cell.group_masks), default=0)
    return Code.NOT_ENOUGH_IN_L3, shape.dedicated + shape.extra, most


def shape_refusal(room: CellRoom, guest: GuestTopology, shape: Shape, free: int) -> Refusal | None:
    """Whether the free pCPUs of ``free`` come in the cores that the thread policy insists on."""
    cell = room.cell
    wanted = shape.dedicated + shape.extra
    if wanted > free.bit_count():
        return Code.NOT_ENOUGH_PCPUS, wanted, free.bit_count()
    if guest.thread_policy is ISOLATE:
        if not shape.dedicated:
            return Code.NOTHING_TO_ISOLATE, 1, 0
        if cell.threads_per_core > 1 and not cell.legacy and not guest.idle_siblings:
            return Code.HOST_HAS_SMT, None, None
        whole = len(whole_cores(room, free))
        if whole < shape.dedicated:
            return Code.NOT_ENOUGH_WHOLE_CORES, shape.dedicated, whole
        open_cores = sum(1 for core in cell.cores if core & free)
        if open_cores < wanted:
            return Code.NOT_ENOUGH_WHOLE_CORES, wanted, open_cores
    elif guest.thread_policy is REQUIRE:
        if cell.threads_per_core < 2:
            return Code.NO_SMT, None, None
        counts = [(core & free).bit_count() for core in cell.cores]
        best = max((n * sum(count >= n for count in counts) for n in range(2, max(counts, default=0) + 1)), default=0)
        if best < max(shape.dedicated, 1):
            return Code.NOT_ENOUGH_SIBLINGS, max(shape.dedicated, 1), best
    return None


def whole_cores(room: CellRoom, free: int) -> list[int]:
    """The masks of cores with every sibling dedicated and free, as ``isolate`` needs them."""
    return [core for core in room.cell.isolable if core & free == core]
