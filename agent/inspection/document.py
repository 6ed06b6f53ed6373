"""The Topology document as plain dicts and lists, in the order and shape that agent.core.topology declares.

``read_document`` imports nothing that the interpreter has not loaded and the host does not call for, because
``cellwright topology --format json`` is run by people and monitors that wait for it; everybody else calls
agent.inspection.host.read_host and gets a HostTopology.  A further kernel fact is a reader module of this room and a
key here.
"""

from __future__ import annotations

from agent.core.cpulist import format_list
from agent.core.errors import BadInput
from agent.inspection.allowed import read_allowed
from agent.inspection.caches import CacheFacts, read_caches
from agent.inspection.cells import CellFacts, read_cells
from agent.inspection.cores import CoreFacts, read_cores
from agent.inspection.cpuinfo import CpuInfo, read_cpuinfo
from agent.inspection.cpus import FOLDER as CPU_FOLDER
from agent.inspection.cpus import Cpus, bits, lowest, read_cpus
from agent.inspection.files import Root, Vanished
from agent.inspection.memory import base_page_kib, parse_meminfo, read_huge_pools, read_huge_sizes
from agent.inspection.values import parse_cpu_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUGE_OF_HOST = "sys/kernel/mm/hugepages"
PCI_DEVICES = "sys/bus/pci/devices"


def read_document(root: Root) -> dict[str, Any]:
    """The whole document; a file that vanishes while the host is read is tried once more.

    Raises BadInput, which names the file, when a kernel file holds what no kernel writes, and when nothing at all
    tells which pCPUs there are.
    """
    try:
        return _read_once(root, last_try=False)
    except Vanished:
        return _read_once(root, last_try=True)


def _read_once(root: Root, *, last_try: bool) -> dict[str, Any]:
    unknown: list[str] = []
    cpus = read_cpus(root, every_switch=last_try)
    kernel_cells = read_cells(root, unknown)
    parts = [facts.cpus for facts in kernel_cells]
    cores = read_cores(root, cpus.online, parts, unknown, last_try=last_try) if cpus else None
    info = read_cpuinfo(root, whole=cores is None)
    has_folders = cpus is not None
    if cpus is None:
        cpus = _cpus_of(root, info, kernel_cells)
        unknown += ["offline"]
    unknown += cpus.unknown
    if cores is None:
        cores = _cores_of(info, cpus.online, unknown)
    # without CPU folders the tree is a part of one, and the siblings are not known to be none
    siblings_known = has_folders or all(core.core is not None for core in cores)
    caches = read_caches(root, cores)
    if not caches:
        unknown.append("caches")
    allowed = read_allowed(root)
    if allowed is None:
        unknown.append("allowed")
    hostname, kernel, arch = root.identity()
    collected_at, page_kib = root.stamp()
    if info is None:
        unknown.append("cpu identity")
        info = CpuInfo()
    arch = arch or info.arch
    unknown += [name for name, found in (("hostname", hostname), ("arch", arch), ("kernel", kernel)) if found is None]
    cells = _cells(root, kernel_cells, cpus.online, page_kib, arch, unknown)
    housed = shared = 0
    for facts, _ in cells:
        shared |= housed & facts.cpus
        housed |= facts.cpus
    homes = {cpu: position for position, (facts, _) in enumerate(cells) for cpu in bits(facts.cpus)}
    # a core and the caches inside it have the same CPUs, so each set is looked at once
    sets = {core.cpus for core in cores} | {cache.cpus for cache in caches}
    shares = {cpus: _shares(cells, homes, cpus) for cpus in sets}
    for core in cores:
        for cell, share in shares[core.cpus]:
            cell["cores"].append(_core(core, share))
    for cache in caches:
        for cell, share in shares[cache.cpus]:
            cell["caches"].append(_cache(cache, share))
    unplaced = _add_devices(root, cells, unknown)
    outside = cpus.online & ~housed
    if outside:
        unknown.append(f"cells of pCPUs {format_list(outside)}")
    if shared:
        unknown.append(f"cells of pCPUs {format_list(shared)} (several list them)")
    if any(core.die is None for core in cores):
        unknown.append("dies")
    if any(core.core is None for core in cores):
        unknown.append("core ids")
    threads = max(core.cpus.bit_count() for core in cores) if siblings_known else None
    return {
        "schema": "cellwright.topology/1",
        "hostname": hostname or "unknown",
        "arch": arch,
        "kernel": kernel,
        "collected_at": collected_at,
        "cpu": {"vendor": info.vendor, "model": info.model, "flags": info.flags},
        "online": format_list(cpus.online),
        "offline": format_list(cpus.offline),
        "isolated": format_list(cpus.isolated),
        "nohz_full": format_list(cpus.nohz_full),
        "allowed": None if allowed is None else format_list(allowed & cpus.online),
        "sockets": _count({core.socket for core in cores}),
        "dies": _count(
            {(core.socket, core.die) for core in cores} if all(c.die is not None for c in cores) else {None}
        ),
        "cores": len(cores) if siblings_known else None,
        "threads_per_core": threads,
        "smt": None if threads is None else threads > 1,
        "cells": [cell for _, cell in cells],
        "outside_cells": [_core(core, format_list(core.cpus & outside)) for core in cores if core.cpus & outside],
        "dedicated_set": None,
        "shared_set": None,
        "unplaced_devices": unplaced,
        "knobs": None,
        "unknown": unknown,
    }


def _cpus_of(root: Root, info: CpuInfo | None, cells: list[CellFacts]) -> Cpus:
    """The CPUs of a tree without CPU folders: those that /proc/cpuinfo names, else the kernel's list, else the cells'.

    The first two have the online ones; a cell lists offline ones as well.
    """
    if root.names("") is None:
        raise BadInput(f"{root.folder}: no folder that can be read")
    online = 0
    for cpu in info.cpus if info is not None else ():
        online |= 1 << cpu
    online = online or root.parsed(f"{CPU_FOLDER}/online", parse_cpu_list) or 0
    for cell in cells if not online else ():
        online |= cell.cpus
    if not online:
        raise BadInput(
            f"{root.folder}: nothing tells which CPUs run: no {CPU_FOLDER}/cpuN, no proc/cpuinfo, no CPU of a cell"
        )
    return Cpus(online, 0, None, None)


def _cores_of(info: CpuInfo | None, online: int, unknown: list[str]) -> list[CoreFacts]:
    """The cores of kernels without topology folders, by the ids of /proc/cpuinfo where it has both of them."""
    ids = info.cpus if info is not None else {}
    cores: dict[tuple[int | None, ...], CoreFacts] = {}
    for cpu in bits(online):
        socket, core = ids.get(cpu, (None, None))
        key = (socket, core) if socket is not None and core is not None else (None, None, cpu)
        facts = cores.setdefault(key, CoreFacts(0))
        facts.cpus |= 1 << cpu
        facts.socket, facts.core = socket, core
    if info is not None and any(core.cpus.bit_count() > info.threads for core in cores.values()):
        cores = {(cpu,): CoreFacts(1 << cpu) for cpu in bits(online)}  # AMD's core ids repeat inside a package
    if any(core.core is None for core in cores.values()):
        unknown.append("siblings (no topology folder: each pCPU counts as a core)")
    if any(core.socket is None for core in cores.values()):
        unknown.append("sockets")
    return list(cores.values())


def _cells(
    root: Root, found: list[CellFacts], online: int, page_kib: int | None, arch: str | None, unknown: list[str]
) -> list[tuple[CellFacts, dict[str, Any]]]:
    """The cells with memory and pages; one cell 0 with everything where the kernel has no NUMA."""
    numa = bool(found)
    if not numa:
        unknown.append("NUMA (no sys/devices/system/node: all pCPUs form cell 0)")
        found = [CellFacts(0, online, None, None)]
    if len(found) == 1 and found[0].memory is None:
        found[0].memory = root.parsed("proc/meminfo", parse_meminfo)
    folders = [f"sys/devices/system/node/node{cell.id}/hugepages" if numa else HUGE_OF_HOST for cell in found]
    # every cell with memory has the same sizes, which are the host's
    first = next((at for at, cell in enumerate(found) if cell.memory is None or cell.memory[0]), 0)
    sizes = read_huge_sizes(root, folders[first])
    if not sizes and numa:
        sizes = read_huge_sizes(root, HUGE_OF_HOST)
        if len(found) == 1:
            folders = [HUGE_OF_HOST]
    if not sizes:
        unknown.append("huge pages (no hugepages folder: this kernel has none, or the tree was saved without)")
    if page_kib is None:
        page_kib = base_page_kib(arch, sizes)
        unknown.append("base page size" if page_kib is None else f"base page size (taken as {page_kib} KiB)")
    if any(cell.memory is None for cell in found):
        unknown.append("memory")
    cells = []
    for facts, folder in zip(found, folders, strict=True):
        facts.cpus &= online
        pools = read_huge_pools(root, folder, sizes)
        total, free = facts.memory or (None, None)
        if total is not None and page_kib:
            base = max(0, total - sum(size * count for size, count, _ in pools)) // page_kib
            pools.insert(0, (page_kib, base, None if free is None else free // page_kib))
        cell = {
            "id": facts.id,
            "cpus": format_list(facts.cpus),
            "memory_kib": total,
            "free_kib": free,
            "distances": facts.distances or {},
            "pages": [{"size_kib": size, "total": count, "free": left} for size, count, left in pools],
            "cores": [],
            "caches": [],
            "devices": [],
        }
        cells.append((facts, cell))
    return cells


def _shares(
    cells: list[tuple[CellFacts, dict[str, Any]]], homes: dict[int, int], cpus: int
) -> list[tuple[dict[str, Any], str]]:
    """Each cell that has some of ``cpus``, and which; nearly always it is one cell that has them all.

    ``homes`` has the position of each CPU's cell.
    """
    home = homes.get(lowest(cpus)) if cpus else None
    if home is not None and cells[home][0].cpus & cpus == cpus:
        return [(cells[home][1], format_list(cpus))]
    return [(cell, format_list(cpus & facts.cpus)) for facts, cell in cells if cpus & facts.cpus]


def _core(core: CoreFacts, cpus: str) -> dict[str, Any]:
    return {
        "socket": core.socket,
        "die": core.die,
        "core": core.core,
        "cpus": cpus,
        "cluster": core.cluster,
        "book": core.book,
        "drawer": core.drawer,
        "kind": core.kind,
    }


def _cache(cache: CacheFacts, cpus: str) -> dict[str, Any]:
    return {
        "level": cache.level,
        "type": cache.type,
        "size_kib": cache.size_kib,
        "cpus": cpus,
        "id": cache.id,
    }


def _add_devices(
    root: Root, cells: list[tuple[CellFacts, dict[str, Any]]], unknown: list[str]
) -> list[dict[str, str | int | None]]:
    """Give the cells their devices; the answer has those whose cell is unknown."""
    addresses = root.names(PCI_DEVICES)
    if not addresses:
        return []
    from agent.inspection.devices import place_devices, read_devices  # many a guest and saved tree goes without

    found = read_devices(root, unknown, folder=PCI_DEVICES, addresses=addresses)
    placed, unplaced = place_devices(found, [facts.id for facts, _ in cells])
    for facts, cell in cells:
        cell["devices"] = placed[facts.id]
    return unplaced


def _count(ids: set[Any]) -> int | None:
    """How many there are; None when one of them is not known."""
    return None if None in ids else len(ids)
