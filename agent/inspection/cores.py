"""Which pCPUs share a core, die and socket: sys/devices/system/cpu/cpuN/topology.

One CPU answers for all: its list names every member of the core, die or socket, so that a host of 112 threads costs
120 files and not 448.  A list that leaves out the CPU it belongs to is damaged; that CPU then stands alone.
Where one package id is cut into several lists (Cluster-on-Die on Linux 4.x, cells of a guest), the id is believed;
where there is no id (-1: ARM without PPTT, POWER, s390), where books repeat it (s390), or where processors of one core
have it in common inside a cell (ia64, whose firmware counts boards), sockets are the lists, numbered by lowest CPU.
(kernel: Documentation/ABI/stable/sysfs-devices-system-cpu, Documentation/admin-guide/cputopology.rst)
"""

from __future__ import annotations

from agent.core.cpulist import format_list
from agent.inspection.cpus import FOLDER, bits, lowest
from agent.inspection.files import Root, Vanished
from agent.inspection.values import known_id, parse_cpu_list, parse_cpu_mask, parse_id, parse_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

THREADS = ("thread_siblings", "core_cpus")
LEVELS = {
    # level: the file with its id, and the files that may list its members, oldest name first
    "socket": ("physical_package_id", ("core_siblings", "package_cpus")),
    "die": ("die_id", ("die_cpus",)),
    "cluster": ("cluster_id", ("cluster_cpus",)),
    "book": ("book_id", ("book_siblings",)),
    "drawer": ("drawer_id", ("drawer_siblings",)),
}

PERFORMANCE, MIDDLE, EFFICIENCY = "performance", "middle", "efficiency"


class CoreFacts:
    """One core: its online threads as a mask, and the ids of what is around it; None where the kernel has none."""

    __slots__ = ("book", "cluster", "core", "cpus", "die", "drawer", "kind", "socket")

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.core: int | None = None
        self.socket: int | None = None
        self.die: int | None = None
        self.cluster: int | None = None
        self.book: int | None = None
        self.drawer: int | None = None
        self.kind: str | None = None


def read_cores(
    root: Root, online: int, cells: list[int], unknown: list[str], *, last_try: bool
) -> list[CoreFacts] | None:
    """The cores of the online pCPUs, by lowest CPU; None where no CPU has a topology folder.

    ``cells`` has the CPUs of each cell as a mask.  What cannot be known is added to ``unknown``, a phrase each.  An
    online CPU without a topology folder may have gone offline just now: Vanished, or on the ``last_try`` unknown.
    """
    files = _described(root, online)
    if not files:
        return None
    threads = _list_file(files, THREADS)
    if threads is None:
        unknown.append("siblings (no thread_siblings file: each pCPU counts as a core)")
    siblings = _list_file(files, LEVELS["socket"][1])
    packages = list(_groups(root, online, siblings)) if siblings else [online]
    cores = [CoreFacts(cpus) for cpus in sorted(_groups(root, online, threads, within=packages), key=lowest)]
    heads = {lowest(core.cpus): core for core in cores}
    undescribed = 0
    for head, core in heads.items():
        path = f"{FOLDER}/cpu{head}/topology/core_id"
        number = root.parsed(path, parse_number) if "core_id" in files else None
        core.core = None if number is None else known_id(number)
        if number is None and root.names(f"{FOLDER}/cpu{head}/topology") is None:
            if not last_try:
                raise Vanished(root.prefix + path)
            undescribed |= core.cpus
    if undescribed:
        unknown.append(f"cores of pCPUs {format_list(undescribed)} (no topology folder)")
        cores = [core for core in cores if not core.cpus & undescribed]
        heads = {lowest(core.cpus): core for core in cores}
        if not cores:
            return None
    read_kinds(root, heads)
    sockets = _read_level(root, heads, "socket", files, packages if siblings else None)
    _read_level(root, heads, "die", files)
    _read_level(root, heads, "drawer", files)
    books = _read_level(root, heads, "book", files)
    places = {(heads[lowest(group)].drawer, heads[lowest(group)].book) for group in books}
    if _list_file(files, LEVELS["book"][1]) and len(places) < len(books):
        _number(heads, books, "book")  # z/VM calls every book 0
    _read_level(root, heads, "cluster", files, unless_alone=True)
    if siblings and _ids_fail(heads, sockets, cells or [online]):
        unknown.append("socket ids (numbered by lowest pCPU)")
        _number(heads, sockets, "socket")
    elif any(core.socket is None for core in cores):
        unknown.append("sockets")
    return cores


def read_kinds(root: Root, heads: dict[int, CoreFacts]) -> None:
    """Tell performance from efficiency cores: x86 lists them by PMU, ARM and RISC-V give each CPU a capacity.

    (kernel: Documentation/ABI/testing/sysfs-devices-system-cpu, cpu_capacity; Documentation/admin-guide/perf, cpu_core)
    """
    fast = root.parsed("sys/devices/cpu_core/cpus", parse_cpu_list)
    if fast:
        for head, core in heads.items():
            core.kind = PERFORMANCE if fast >> head & 1 else EFFICIENCY
        return
    first = min(heads)
    capacity = root.parsed(f"{FOLDER}/cpu{first}/cpu_capacity", parse_number)
    if capacity is None:
        return
    by_head = {
        head: capacity if head == first else root.parsed(f"{FOLDER}/cpu{head}/cpu_capacity", parse_number) or 0
        for head in heads
    }
    classes = _classes(sorted(set(by_head.values())))
    if len(classes) > 1:
        for head, core in heads.items():
            capacity = by_head[head]
            core.kind = PERFORMANCE if capacity in classes[-1] else EFFICIENCY if capacity in classes[0] else MIDDLE


def _classes(capacities: list[int]) -> list[list[int]]:
    """Ascending capacities, those together that are less than a tenth apart: cores of one design differ in clock."""
    classes = [capacities[:1]]
    for capacity in capacities[1:]:
        if capacity * 10 < classes[-1][-1] * 11:
            classes[-1].append(capacity)
        else:
            classes.append([capacity])
    return classes


def _described(root: Root, online: int) -> frozenset[str]:
    """What is in the topology folder of the lowest online CPU that has one."""
    for cpu in bits(online):
        names = root.names(f"{FOLDER}/cpu{cpu}/topology")
        if names:
            return frozenset(names)
    return frozenset()


def _list_file(files: frozenset[str], stems: tuple[str, ...]) -> str | None:
    """The file that lists members: as a list where the kernel has that (since 2.6.26), else as a mask."""
    for name in (*(stem + "_list" for stem in stems), *stems):
        if name in files:
            return name
    return None


def _groups(root: Root, pool: int, file: str | None, within: Sequence[int] = ()) -> Iterator[int]:
    """Split ``pool`` into the sets that ``file`` of each set's lowest CPU lists; without a file each CPU is alone.

    ``within`` has larger sets around them, together all of ``pool``: the last CPU left of one is alone, unasked.
    """
    parse = parse_cpu_list if file and file.endswith("_list") else parse_cpu_mask
    for part in within or (pool,):
        while left := part & pool:
            head = left & -left
            asked = file is not None and (left != head or left == part)
            listed = root.parsed(f"{FOLDER}/cpu{lowest(head)}/topology/{file}", parse) if asked else None
            group = listed & pool if listed and listed & head else head
            yield group
            pool &= ~group


def _read_level(
    root: Root,
    heads: dict[int, CoreFacts],
    level: str,
    files: frozenset[str],
    listed: Sequence[int] | None = None,
    *,
    unless_alone: bool = False,
) -> list[int]:
    """Give every core its id on this level, read once a group; the groups, as masks of the cores' lowest CPUs.

    ``listed``: the level's members, where they have been read.
    ``unless_alone``: where the first group is one core, and cores are of one kind, the level is left unread: x86 calls
    the sharers of each L2 a cluster, which is worth a file a core only where that is more than the core itself.
    """
    id_file, stems = LEVELS[level]
    if id_file not in files and level != "socket":
        return []
    pool = 0
    for head in heads:
        pool |= 1 << head
    groups: list[int] = []
    parts = _groups(root, pool, _list_file(files, stems)) if listed is None else [part & pool for part in listed]
    for group in filter(None, parts):
        if unless_alone and not groups and not group & group - 1 and heads[lowest(group)].kind is None:
            return []
        groups.append(group)
        number = root.parsed(f"{FOLDER}/cpu{lowest(group)}/topology/{id_file}", parse_id)
        for head in bits(group):
            setattr(heads[head], level, number)
    return groups


def _number(heads: dict[int, CoreFacts], groups: list[int], level: str) -> None:
    for number, group in enumerate(groups):
        for head in bits(group):
            setattr(heads[head], level, number)


def _ids_fail(heads: dict[int, CoreFacts], sockets: list[int], cells: list[int]) -> bool:
    """Whether package ids are missing, or one stands for sockets in several books, or for several of a core in a cell.

    Kernels that cut core_siblings for no good reason do so where cells meet.
    """
    owners: dict[int, list[int]] = {}
    for group in sockets:
        number = heads[lowest(group)].socket
        if number is None:
            return True
        owners.setdefault(number, []).append(group)
    for groups in owners.values():
        if len(groups) > 1:
            places = {(heads[lowest(group)].drawer, heads[lowest(group)].book) for group in groups}
            alone = not any(group & group - 1 for group in groups)
            if len(places) > 1 or (alone and any(sum(bool(group & cell) for group in groups) > 1 for cell in cells)):
                return True
    return False
