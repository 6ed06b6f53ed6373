"""A host from one string: ``socket:2 cell:1 core:18 thread:2``.

Levels, outermost first: ``socket``, ``cell``, ``die``, ``l3``, ``core``, ``thread``; each number counts the objects in
one object of the level before it, and a level left out counts as one.  Then options:

- ``memory:195236MiB,196608MiB``: each cell's memory; one value serves all cells (default 16GiB);
- ``pages:2M=512,1G=4``: huge pages of every cell;
- ``distance:21``, or ``distance:10/21,21/10`` with a row of the matrix per cell;
- ``numbering:split`` (siblings i and i+N, as most servers; the default) or ``numbering:near`` (2i and 2i+1);
- ``dedicated:4-17`` and ``shared:0-3``, the operator's sets; ``name:osdev-01``.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import Cache, Cell, Core, CpuIdentity, HostTopology, PagePool
from agent.core.units import parse_size_kib
from agent.inspection.values import is_number

LEVELS = ("socket", "cell", "die", "l3", "core", "thread")
OPTIONS = ("memory", "pages", "distance", "numbering", "dedicated", "shared", "name")
BASE_PAGE_KIB = 4
HIGHEST_CPUS = 8192


def parse_synthetic(text: str) -> HostTopology:
    """The host a description stands for; BadInput names the word that is wrong and what could stand there."""
    counts, options = _words(text)
    cells_count = counts["socket"] * counts["cell"]
    cores_per_l3 = counts["core"]
    l3_per_cell = counts["die"] * counts["l3"]
    cores_count = cells_count * l3_per_cell * cores_per_l3
    if cores_count * counts["thread"] > HIGHEST_CPUS:
        raise BadInput(f"synthetic host: {cores_count * counts['thread']} pCPUs; allowed: up to {HIGHEST_CPUS}")
    memory = _memory(options.get("memory", "16GiB"), cells_count)
    huge = _pages(options.get("pages", ""))
    distances = _distances(options.get("distance", "21"), cells_count)
    split = _numbering(options.get("numbering", "split"))

    def threads(core: int) -> CpuSet:
        if split:
            return CpuSet(core + cores_count * thread for thread in range(counts["thread"]))
        return CpuSet(range(core * counts["thread"], (core + 1) * counts["thread"]))

    cells = []
    cores_per_cell = l3_per_cell * cores_per_l3
    for cell in range(cells_count):
        socket, cell_in_socket = divmod(cell, counts["cell"])
        first = cell * cores_per_cell
        cores, caches = [], []
        for group in range(l3_per_cell):
            members = CpuSet()
            for number in range(cores_per_l3):
                core = first + group * cores_per_l3 + number
                members = members | threads(core)
                die = cell_in_socket * counts["die"] + group // counts["l3"]
                in_socket = core - socket * counts["cell"] * cores_per_cell
                cores.append(Core(socket=socket, die=die, core=in_socket, cpus=threads(core)))
            caches.append(Cache(3, "Unified", cores_per_l3 * 1408, members, id=cell * l3_per_cell + group))
        cpus = CpuSet(cpu for core in cores for cpu in core.cpus)
        in_pools = sum(size * count for size, count in huge)
        if in_pools > memory[cell]:
            raise BadInput(f"synthetic host: pages: {in_pools} KiB of huge pages do not fit into cell {cell}")
        base = (memory[cell] - in_pools) // BASE_PAGE_KIB
        pools = [PagePool(BASE_PAGE_KIB, base, base), *(PagePool(size, count, count) for size, count in huge)]
        cells.append(
            Cell(
                id=cell,
                cpus=cpus,
                memory_kib=memory[cell],
                free_kib=memory[cell] - in_pools,
                distances=distances[cell],
                pages=tuple(pools),
                cores=tuple(cores),
                caches=tuple(caches),
            )
        )
    online = CpuSet(range(cores_count * counts["thread"]))
    return HostTopology(
        hostname=options.get("name", "synthetic"),
        arch="x86_64",
        kernel="synthetic",
        collected_at=None,
        cpu=CpuIdentity(vendor="synthetic", model=text),
        online=online,
        allowed=online,
        sockets=counts["socket"],
        dies=counts["socket"] * counts["cell"] * counts["die"],
        cores=cores_count,
        threads_per_core=counts["thread"],
        smt=counts["thread"] > 1,
        cells=tuple(cells),
        dedicated_set=_set(options, "dedicated", online),
        shared_set=_set(options, "shared", online),
    )


def _words(text: str) -> tuple[dict[str, int], dict[str, str]]:
    counts = dict.fromkeys(LEVELS, 1)
    options: dict[str, str] = {}
    allowed = ", ".join(LEVELS + OPTIONS)
    said: set[str] = set()
    for word in text.split():
        key, colon, value = word.partition(":")
        if key in said:
            raise BadInput(f"synthetic host: {key} is said twice; allowed: once, pages as pages:2M=512,1G=4")
        said.add(key)
        if not colon or key not in LEVELS + OPTIONS:
            raise BadInput(f"synthetic host: {word!r}; allowed: WORD:VALUE with {allowed}")
        if key in OPTIONS:
            options[key] = value
        elif is_number(value) and 0 < int(value) <= HIGHEST_CPUS:
            counts[key] = int(value)
        else:
            raise BadInput(f"synthetic host: {word!r}: not a count; allowed: 1 to {HIGHEST_CPUS}")
    if not text.strip():
        raise BadInput(f"synthetic host: nothing described; allowed: words such as core:8, of {allowed}")
    return counts, options


def _memory(text: str, cells: int) -> list[int]:
    sizes = [parse_size_kib(size) for size in text.split(",")]
    if len(sizes) not in (1, cells):
        raise BadInput(f"synthetic host: memory:{text} has {len(sizes)} sizes for {cells} cells; allowed: 1 or {cells}")
    return sizes * cells if len(sizes) == 1 else sizes


def _pages(text: str) -> list[tuple[int, int]]:
    pools = []
    for item in filter(None, text.split(",")):
        size, equals, count = item.partition("=")
        if not equals or not is_number(count):
            raise BadInput(f"synthetic host: pages:{item}; allowed: SIZE=COUNT, such as 2M=512")
        pools.append((parse_size_kib(size), int(count)))
    return sorted(pools)


def _distances(text: str, cells: int) -> list[dict[int, int]]:
    rows = text.split(",")
    if not all(is_number(value) and len(value) < 7 for value in text.replace("/", ",").split(",")):
        raise BadInput(f"synthetic host: distance:{text}; allowed: 21, or rows such as 10/21,21/10")
    if len(rows) == 1 and "/" not in text:
        return [{other: 10 if other == cell else int(text) for other in range(cells)} for cell in range(cells)]
    matrix = [[int(value) for value in row.split("/")] for row in rows]
    if len(matrix) != cells or any(len(row) != cells for row in matrix):
        raise BadInput(f"synthetic host: distance:{text} is no {cells} × {cells} matrix")
    return [dict(enumerate(row)) for row in matrix]


def _numbering(text: str) -> bool:
    if text not in ("split", "near"):
        raise BadInput(f"synthetic host: numbering:{text}; allowed: split, near")
    return text == "split"


def _set(options: dict[str, str], key: str, online: CpuSet) -> CpuSet | None:
    if key not in options:
        return None
    cpus = CpuSet.parse(options[key])
    if not cpus <= online:
        raise BadInput(f"synthetic host: {key}:{options[key]} names pCPUs {cpus - online} that the host does not have")
    return cpus
