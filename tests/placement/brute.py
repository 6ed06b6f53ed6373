"""What a tiny host could do, by trying everything: every choice of pCPUs, every assignment of guest cells.

A candidate is a Placement of one guest cell on one host cell; whether it is right is the validator's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations, product

from agent.core.claims import claim
from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy
from agent.core.request import Request
from agent.core.topology import Cell, HostTopology
from agent.core.usage import Limits, Usage
from tests.placement import validator
from tests.placement.validator import Case

CELL_RULES = (validator.pins, validator.threads, validator.reserved, validator.pages, validator.overcommit)


@dataclass(frozen=True)
class Wish:
    """One guest cell as asked for."""

    number: int
    vcpus: CpuSet
    memory_kib: int


@dataclass(frozen=True)
class Choice:
    """One right way to serve one guest cell on one host cell, and what it costs the host."""

    owned: CpuSet
    spanned: int
    broken: int
    placement: Placement


def wishes(request: Request) -> list[Wish]:
    """The guest cells of a request that names ``hw:numa_nodes``."""
    specs, flavor = request.flavor.extra_specs, request.flavor
    count = int(specs["hw:numa_nodes"])
    each = flavor.vcpus // count
    return [
        Wish(
            number,
            CpuSet.parse(str(specs.get(f"hw:numa_cpus.{number}", f"{number * each}-{number * each + each - 1}"))),
            int(specs.get(f"hw:numa_mem.{number}", flavor.ram_mb // count)) * 1024,
        )
        for number in range(count)
    ]


def choices(
    host: HostTopology, usage: Usage, request: Request, limits: Limits | None, wish: Wish, cell: Cell
) -> Iterator[Choice]:
    """Every set of pCPUs that serves this guest cell on this host cell; one Choice even if it owns none."""
    empty = _placement(host, request, wish, cell, {}, None, CpuSet(), None)
    case = Case(host, usage, request, limits, empty)
    mine = sorted(wish.vcpus & case.dedicated_vcpus())
    free = [cpu for cpu in cell.cpus & host.dedicated() if cpu not in case.used_pcpus()]
    extra = case.extra("hw:emulator_threads_policy") == "isolate" and wish.number == 0
    if case.cpu_policy() == "mixed" and not mine and _nova_wants_a_dedicated_vcpu(case, cell, free, extra):
        return
    for pins in combinations(free, len(mine)):
        if not _uniform(case, cell, pins, free):
            continue
        for kept in [cpu for cpu in free if cpu not in pins] if extra else [None]:
            owners = set(pins) | ({kept} if kept is not None else set())
            idle = set()
            if case.thread_policy() == "isolate" and mine:
                idle = {sibling for cpu in owners for sibling in case.core_of(cpu)} & set(free) - owners
                if kept is not None and case.core_of(kept) & set(pins):
                    continue
            for page in _pages(case, cell):
                built = _placement(
                    host, request, wish, cell, dict(zip(mine, pins, strict=True)), kept, CpuSet(idle), page
                )
                candidate = Case(host, usage, request, limits, built)
                if not any(list(rule(candidate)) for rule in CELL_RULES):
                    owned = CpuSet(owners | idle)
                    yield Choice(owned, _spanned(cell, CpuSet(owners)), _broken(case, cell, owned, free), built)


def _nova_wants_a_dedicated_vcpu(case: Case, cell: Cell, free: list[int], extra: bool) -> bool:
    """What Nova asks of a mixed guest's cell with floating vCPUs only; recorded in its answers, so ours too."""
    if case.thread_policy() == "require":
        return extra or not any(len(core.cpus & CpuSet(free)) > 1 for core in cell.cores)
    return extra or case.thread_policy() == "isolate"


def feasible(host: HostTopology, usage: Usage, request: Request, limits: Limits | None) -> list[list[bool]]:
    """Guest cell × host cell: can it be served there, alone?"""
    return [
        [next(choices(host, usage, request, limits, wish, cell), None) is not None for cell in host.cells]
        for wish in wishes(request)
    ]


def assignments(fits: list[list[bool]]) -> list[tuple[int, ...]]:
    """Every way to give the guest cells host cells of their own, as places in ``host.cells``."""
    cells = range(len(fits[0]))
    return [
        chosen
        for chosen in permutations(cells, len(fits))
        if all(fits[guest][cell] for guest, cell in enumerate(chosen))
    ]


def most_guests(host: HostTopology, usage: Usage, request: Request, limits: Limits | None, *, stop: int) -> int:
    """How many such guests fit one after the other, whatever choice is made for each; ``stop`` and up is ``stop``."""
    seen: set[tuple[Usage, int]] = set()
    best = 0
    todo = [(usage, 0)]
    while todo and best < stop:
        usage, count = todo.pop()
        best = max(best, count)
        for after in _after(host, usage, request, limits):
            if (after, count + 1) not in seen:
                seen.add((after, count + 1))
                todo.append((after, count + 1))
    return best


def _after(host: HostTopology, usage: Usage, request: Request, limits: Limits | None) -> Iterator[Usage]:
    """Usage after one guest more, for each way to place it."""
    own = [[list(choices(host, usage, request, limits, wish, cell)) for cell in host.cells] for wish in wishes(request)]
    for chosen in assignments([[bool(options) for options in row] for row in own]):
        for parts in product(*(own[guest][cell] for guest, cell in enumerate(chosen))):
            after = usage
            for part in parts:
                after = claim(after, part.placement)
            yield after


def _uniform(case: Case, cell: Cell, pins: tuple[int, ...], free: list[int]) -> bool:
    """``require`` as Nova counts it: so many threads a core, the same on every core but the last."""
    if case.thread_policy() != "require" or not pins:
        return True
    cores = [set(core.cpus) & set(free) for core in cell.cores]
    counts = sorted((len(core & set(pins)), len(core)) for core in cores if core & set(pins))
    return any(
        all(had >= size for _, had in counts) and all(took == size for took, _ in counts[1:]) and counts[0][0] <= size
        for size in range(2, 9)
    )


def _pages(case: Case, cell: Cell) -> list[int | None]:
    if case.spec("mem_page_size") is None:
        return [None]
    return [pool.size_kib for pool in cell.pages]


def _spanned(cell: Cell, owned: CpuSet) -> int:
    return sum(1 for cache in cell.caches if cache.level == 3 and cache.cpus & owned)


def _broken(case: Case, cell: Cell, owned: CpuSet, free: list[int]) -> int:
    """Cores whose dedicated siblings were all free, and now some are and some are not."""
    broken = 0
    for core in cell.cores:
        mine = core.cpus & case.host.dedicated()
        broken += bool(mine) and mine <= CpuSet(free) and bool(mine & owned) and not mine <= owned
    return broken


def _placement(
    host: HostTopology,
    request: Request,
    wish: Wish,
    cell: Cell,
    pins: dict[int, int],
    kept: int | None,
    idle: CpuSet,
    page_kib: int | None,
) -> Placement:
    floating = cell.cpus & host.shared()
    placed = PlacedCell(
        guest_cell=wish.number,
        host_cell=cell.id,
        vcpus=wish.vcpus,
        memory_kib=wish.memory_kib,
        page_kib=page_kib,
        pool_kib=page_kib or min(pool.size_kib for pool in cell.pages),
        policy=CpuPolicy(str(request.flavor.extra_specs["hw:cpu_policy"])),
        pins={vcpu: CpuSet([pins[vcpu]]) if vcpu in pins else floating for vcpu in wish.vcpus},
        dedicated=CpuSet(pins),
    )
    emulator = CpuSet() if kept is None else CpuSet([kept])
    return Placement(
        host=host.hostname,
        name=request.name,
        vcpus=request.flavor.vcpus,
        memory_kib=request.flavor.ram_mb * 1024,
        cells=(placed,),
        emulator=emulator,
        reserved=emulator | idle,
        cpu_topology=CpuTopology(request.flavor.vcpus, 1, 1),
    )
