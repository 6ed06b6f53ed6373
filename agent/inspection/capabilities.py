"""A host from libvirt's capabilities (``virsh capabilities``): https://libvirt.org/formatcaps.html.

libvirt tells neither free memory nor which pCPUs are isolated.  A pCPU that it lists without siblings is offline; it
does not say so, and some versions write it into socket 0, which ``parse_offline_sockets`` tells as it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.cpulist import HIGHEST_CPU
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import Cache, Cell, Core, CpuIdentity, HostTopology
from agent.core.units import parse_size_kib
from agent.inspection.values import parse_count
from agent.inspection.xml import consistent, counts, needed, number, page_pool, parse_xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

TYPES = {"both": "Unified", "data": "Data", "code": "Instruction"}
UNKNOWN = ("free memory", "isolated", "nohz_full", "allowed", "hostname", "kernel")


def parse_capabilities(data: bytes, source: str = "capabilities") -> HostTopology:
    """The host that a capabilities document describes; BadInput names ``source`` and the element that is wrong."""
    root = parse_xml(_document(data), source, root="capabilities")
    try:
        return consistent(_host(root))
    except BadInput as why:
        raise BadInput(f"{source}: {why}") from why


def parse_offline_sockets(data: bytes, source: str = "capabilities") -> dict[int, int]:
    """The ``socket_id`` of each pCPU that has no siblings, by pCPU, where the document gives it one."""
    cpus = parse_xml(_document(data), source, root="capabilities").iterfind("host/topology/cells/cell/cpus/cpu")
    try:
        sockets = {needed(cpu, "id", HIGHEST_CPU): number(cpu, "socket_id") for cpu in cpus if not cpu.get("siblings")}
    except BadInput as why:
        raise BadInput(f"{source}: {why}") from why
    return {cpu: socket for cpu, socket in sockets.items() if socket is not None}


def _document(data: bytes) -> bytes:
    """The XML alone: saved output of virsh often has other answers before it."""
    start = data.find(b"<capabilities")
    return data if start < 0 or b"<!" in data[:start] else data[start:]


def _host(root: Element) -> HostTopology:
    cells = root.findall("host/topology/cells/cell")
    if not cells:
        raise BadInput("no host/topology/cells/cell")
    banks = [
        (
            needed(bank, "level"),
            TYPES.get(bank.get("type", ""), bank.get("type", "")),
            _kib(bank, bank.get("size", "")),
            CpuSet.parse(bank.get("cpus", "")),
            number(bank, "id"),
        )
        for bank in root.findall("host/cache/bank")
    ]
    made = tuple(sorted((_cell(cell, banks) for cell in cells), key=lambda cell: cell.id))
    cores = [core for cell in made for core in cell.cores]
    return HostTopology(
        hostname="unknown",
        arch=root.findtext("host/cpu/arch"),
        cpu=CpuIdentity(
            vendor=root.findtext("host/cpu/vendor"),
            model=root.findtext("host/cpu/model"),
            flags=tuple(feature.get("name", "") for feature in root.findall("host/cpu/feature")),
        ),
        online=CpuSet(cpu for cell in made for cpu in cell.cpus),
        offline=_cpus(cells, running=False),
        cells=made,
        unknown=UNKNOWN,
        **counts(cores),  # type: ignore[arg-type]  # five keys of HostTopology with their types
    )


def _cell(cell: Element, banks: list[tuple[int, str, int, CpuSet, int | None]]) -> Cell:
    cores: dict[CpuSet, Core] = {}
    for cpu in cell.findall("cpus/cpu"):
        siblings = CpuSet.parse(cpu.get("siblings", ""))
        if siblings:
            cores.setdefault(
                siblings,
                Core(
                    socket=number(cpu, "socket_id"),
                    die=number(cpu, "die_id"),
                    core=number(cpu, "core_id"),
                    cpus=siblings,
                    cluster=number(cpu, "cluster_id"),
                ),
            )
    cpus = _cpus([cell], running=True)
    memory = cell.find("memory")
    return Cell(
        id=needed(cell, "id", HIGHEST_CPU),
        cpus=cpus,
        memory_kib=None if memory is None else _kib(memory, memory.text or ""),
        distances={needed(row, "id", HIGHEST_CPU): needed(row, "value") for row in cell.findall("distances/sibling")},
        pages=tuple(
            page_pool(_kib(pages, pages.get("size", "")), parse_count(pages.text or ""))
            for pages in cell.findall("pages")
        ),
        cores=tuple(cores.values()),
        caches=tuple(
            Cache(level, kind, size, part, bank) for level, kind, size, shared, bank in banks if (part := shared & cpus)
        ),
    )


def _cpus(cells: list[Element], *, running: bool) -> CpuSet:
    """The pCPUs of some cells that run, which have siblings, or those that do not."""
    cpus = (cpu for cell in cells for cpu in cell.findall("cpus/cpu"))
    return CpuSet(needed(cpu, "id", HIGHEST_CPU) for cpu in cpus if bool(cpu.get("siblings")) is running)


def _kib(element: Element, text: str) -> int:
    """A size with its unit in an attribute, ``KiB`` where there is none."""
    return parse_size_kib(text.strip() + (element.get("unit", "KiB") if text.strip() else ""))
