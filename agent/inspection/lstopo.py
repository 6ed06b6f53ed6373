"""A host from hwloc's XML (``lstopo --of xml``), versions 1 and 2: https://www.open-mpi.org/projects/hwloc/doc/.

hwloc attaches memory without CPUs to the CPUs nearby and says no more; such a cell is one whose CPUs an earlier cell
has already, and it gets none here.  Free memory and isolated pCPUs are not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.cpulist import HIGHEST_CPU
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import Cache, Cell, Core, CpuIdentity, HostTopology
from agent.inspection.xml import consistent, counts, needed, number, page_pool, parse_xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

DTDS = ("hwloc.dtd", "hwloc2.dtd")
SOCKETS = ("Package", "Socket")
CACHE_TYPES = {"0": "Unified", "1": "Data", "2": "Instruction"}
UNKNOWN = ("free memory", "isolated", "nohz_full")


def parse_lstopo(data: bytes, source: str = "hwloc XML") -> HostTopology:
    """The host that an hwloc document describes; BadInput names ``source`` and the object that is wrong."""
    root = parse_xml(data, source, root="topology", harmless_dtd=DTDS)
    try:
        return consistent(_host(root))
    except BadInput as why:
        raise BadInput(f"{source}: {why}") from why


def parse_bitmap(text: str) -> CpuSet:
    """hwloc's bitmaps: 32-bit words in hexadecimal, highest first, ``0x00000001,,0xffffffff``; empty words are zero."""
    mask = 0
    for word in text.split(","):
        digits = word.strip().removeprefix("0x") or "0"
        if digits.strip("0123456789abcdefABCDEF") or len(digits) > 8 or mask.bit_length() > HIGHEST_CPU - 32:
            raise BadInput(f"not a bitmap of CPUs: {text[:60]!r}")
        mask = mask << 32 | int(digits, 16)
    return CpuSet.of_mask(mask)


def _host(root: Element) -> HostTopology:
    machine = root.find("object")
    if machine is None:
        raise BadInput("no <object type='Machine'>")
    infos = {info.get("name"): info.get("value") for info in root.iter("info")}
    whole = _cpus(machine, "complete_cpuset")
    online = CpuSet(needed(unit, "os_index", HIGHEST_CPU) for unit in _objects(machine, ("PU",)))
    v1_online = machine.get("online_cpuset")
    if v1_online is not None:
        online = online & parse_bitmap(v1_online)
    nodes = sorted(_objects(machine, ("NUMANode",)), key=lambda node: needed(node, "os_index", HIGHEST_CPU))
    distances = _distances(root, machine, [needed(node, "os_index", HIGHEST_CPU) for node in nodes])
    cores = _cores(machine, online)
    caches = _caches(machine, online)
    homes = {needed(node, "os_index", HIGHEST_CPU): (node, _cpus(node, "cpuset") & online) for node in nodes}
    cells, seen = [], CpuSet()
    for cell_id, (node, cpus) in (homes or {0: (machine, online)}).items():
        if cpus & seen:
            cpus = CpuSet()  # memory without CPUs of its own
        seen = seen | cpus
        cells.append(_cell(cell_id, node, cpus, cores, caches, distances.get(cell_id, {})))
    return HostTopology(
        hostname=infos.get("HostName") or "unknown",
        arch=infos.get("Architecture"),
        kernel=infos.get("OSRelease"),
        cpu=CpuIdentity(vendor=infos.get("CPUVendor"), model=infos.get("CPUModel")),
        online=online,
        offline=whole - online,
        allowed=_cpus(machine, "allowed_cpuset") & online if machine.get("allowed_cpuset") else None,
        cells=tuple(cells),
        outside_cells=tuple(_parts(cores, online - seen)),
        unknown=UNKNOWN,
        **counts(cores),  # type: ignore[arg-type]  # five keys of HostTopology with their types
    )


def _objects(below: Element, types: tuple[str, ...]) -> list[Element]:
    return [found for found in below.iter("object") if found.get("type") in types]


def _cpus(element: Element, key: str) -> CpuSet:
    return parse_bitmap(element.get(key, ""))


def _cores(machine: Element, online: CpuSet) -> list[Core]:
    """Core objects, and pCPUs outside of any (hwloc leaves the level out where it knows nothing) as cores of one."""
    cores = []
    for found in _objects(machine, ("Core",)):
        cpus = _cpus(found, "cpuset") & online
        if cpus:
            cores.append(_core(found, cpus, number(found, "os_index")))
    housed = CpuSet(cpu for core in cores for cpu in core.cpus)
    for unit in _objects(machine, ("PU",)):
        cpu = needed(unit, "os_index", HIGHEST_CPU)
        if cpu in online and cpu not in housed:
            cores.append(_core(unit, CpuSet([cpu]), None))
    return sorted(cores, key=lambda core: core.cpus.first())


def _core(found: Element, cpus: CpuSet, core: int | None) -> Core:
    around = {above.get("type"): number(above, "os_index") for above in found.iterancestors("object")}
    socket = next((around[kind] for kind in SOCKETS if kind in around), None)
    return Core(socket=socket, die=around.get("Die"), core=core, cpus=cpus)


def _caches(machine: Element, online: CpuSet) -> list[Cache]:
    """Caches, highest level first: ``L3Cache`` in version 2, ``Cache`` with a depth in version 1."""
    caches = []
    for found in machine.iter("object"):
        if (found.get("type") or "").endswith("Cache") and found.get("type") != "MemCache":
            size = number(found, "cache_size")
            kind = CACHE_TYPES.get(found.get("cache_type", "0"), "Unified")
            cpus = _cpus(found, "cpuset") & online
            caches.append(Cache(needed(found, "depth"), kind, None if size is None else size >> 10, cpus))
    return sorted(caches, key=lambda cache: (-cache.level, cache.type, cache.cpus.mask & -cache.cpus.mask))


def _parts(cores: list[Core], cpus: CpuSet) -> list[Core]:
    from msgspec.structs import replace

    return [replace(core, cpus=part) for core in cores if (part := core.cpus & cpus)]


def _cell(
    cell_id: int, node: Element, cpus: CpuSet, cores: list[Core], caches: list[Cache], distances: dict[int, int]
) -> Cell:
    memory = number(node, "local_memory")
    pools = [(needed(pages, "size") >> 10, needed(pages, "count")) for pages in node.findall("page_type")]
    return Cell(
        id=cell_id,
        cpus=cpus,
        memory_kib=None if memory is None else memory >> 10,
        distances=distances,
        pages=tuple(page_pool(size, count) for size, count in sorted(pools)),
        cores=tuple(_parts(cores, cpus)),
        caches=tuple(
            Cache(cache.level, cache.type, cache.size_kib, part) for cache in caches if (part := cache.cpus & cpus)
        ),
    )


def _distances(root: Element, machine: Element, cells: list[int]) -> dict[int, dict[int, int]]:
    """The latency matrix: ``distances2`` by OS index in version 2, ``distances`` in version 1 as shares of a base."""
    for matrix in root.iter("distances2"):
        if matrix.get("type") == "NUMANode" and matrix.get("name", "NUMALatency") == "NUMALatency":
            ids = _words(matrix, "indexes")
            values = _words(matrix, "u64values")
            if matrix.get("indexing") == "os":
                return _matrix(ids, [int(value) for value in values])
    for matrix in machine.iter("distances"):
        base = matrix.get("latency_base")
        if number(matrix, "nbobjs") == len(cells) and base is not None:
            values = [cell.get("value", "") for cell in matrix.findall("latency")]
            try:
                return _matrix([str(cell) for cell in cells], [round(float(value) * float(base)) for value in values])
            except (ValueError, OverflowError) as why:
                raise BadInput(f"<distances>: {why}") from why
    return {}


def _words(matrix: Element, tag: str) -> list[str]:
    words = [word for part in matrix.findall(tag) for word in (part.text or "").split()]
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise BadInput(f"<{tag}>: not a list of numbers")
    return words


def _matrix(ids: list[str], values: list[int]) -> dict[int, dict[int, int]]:
    size = len(ids)
    if len(values) != size * size:
        raise BadInput(f"{len(values)} distances for {size} cells")
    return {int(row): {int(column): values[i * size + j] for j, column in enumerate(ids)} for i, row in enumerate(ids)}
