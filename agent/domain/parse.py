"""What a domain claims on its host: a Placement from any domain XML, ours, virt-manager's, Nova's or hand-written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import CpuTopology, PlacedCell, PlacedDevice, Placement
from agent.core.policy import CpuPolicy, MemPolicy
from agent.domain.document import Element, parse_xml
from agent.domain.metadata import Intent, read_intent
from agent.domain.scalars import (
    MOST_THREADS,
    iothread_ids,
    memory_kib,
    parse_count,
    parse_cpus,
    parse_memory_kib,
    pci_of,
    vcpu_count,
)
from agent.domain.tuning import parse_bandwidth_shares, parse_cache_shares, parse_schedules, parse_tune

if TYPE_CHECKING:  # a topology is only handed in
    from agent.core.topology import HostTopology

USUAL_HUGE_PAGE_KIB = 2048
"""``<hugepages/>`` without a size means the host's default size, which is this unless its administrator said so."""


def parse_intent(xml: bytes | str, *, source: str = "domain XML") -> Intent | None:
    """What we wanted when we wrote this domain; None for a foreign one."""
    return read_intent(parse_xml(xml, source=source), source=source)


def parse_domain(xml: bytes | str, *, host: HostTopology | None = None, source: str = "domain XML") -> Placement:
    """What the domain claims.

    A domain of ours whose pins and cells are still those we wrote gives back the very placement.  Any other is read
    from its elements: ``host`` is "", a domain that pins nothing has no cells and floats over ``emulator`` (empty:
    over the whole host).  ``host`` tells which cell pins lie in when the XML binds no memory; without it that is cell
    0, the one cell that every host has.
    """
    root = parse_xml(xml, source=source)
    claims = parse_elements(root, host=host, source=source)
    intent = read_intent(root, source=source)
    if intent is None:
        return claims
    wanted = intent.placement
    if _pinning(claims, wanted.iothreads) == _pinning(wanted, wanted.iothreads):
        return wanted
    return msgspec.structs.replace(claims, host=wanted.host, flavor=wanted.flavor, reserved=wanted.reserved)


def parse_elements(root: Element, *, host: HostTopology | None = None, source: str = "domain XML") -> Placement:
    """The claims as libvirt's own elements state them, our metadata left aside."""
    vcpus = vcpu_count(root, source=source)
    node = root.find("vcpu")
    anywhere = parse_cpus(None if node is None else node.get("cpuset"), f"{source}: <vcpu cpuset>")
    tune = root.find("cputune")
    emulator = None if tune is None else tune.find("emulatorpin")
    iothreads = dict.fromkeys(iothread_ids(root, source=source), anywhere)
    for pin in root.iterfind("cputune/iothreadpin"):
        number = parse_count(pin.get("iothread"), f"{source}: <iothreadpin>", most=MOST_THREADS)
        iothreads[number] = parse_cpus(pin.get("cpuset"), f"{source}: <iothreadpin>")
    cells = _cells(root, vcpus, anywhere, host, source)
    realtime, schedules = parse_schedules(root, vcpus, iothreads, source)
    return Placement(
        host="",
        name=root.findtext("name") or "",
        vcpus=vcpus,
        memory_kib=memory_kib(root, source=source),
        cells=cells,
        emulator=anywhere if emulator is None else parse_cpus(emulator.get("cpuset"), f"{source}: <emulatorpin>"),
        iothreads=iothreads,
        realtime=realtime,
        mempolicy=_mempolicy(root, source) if cells else None,
        cpu_topology=_topology(root, vcpus, source),
        tune=parse_tune(root, source),
        schedules=schedules,
        cache_shares=parse_cache_shares(root, source),
        bandwidth_shares=parse_bandwidth_shares(root, source),
        locked=root.find("memoryBacking/locked") is not None,
        devices=_devices(root, host, source),
    )


class GuestCell(msgspec.Struct, frozen=True):
    """A guest cell as ``<numa>`` has it."""

    id: int
    vcpus: CpuSet
    memory_kib: int
    distances: dict[int, int]


def _cells(
    root: Element, vcpus: int, anywhere: CpuSet, host: HostTopology | None, source: str
) -> tuple[PlacedCell, ...]:
    """The guest's cells where anything pins it to pCPUs or to one host cell; a guest without ``<numa>`` has one."""
    pins = dict.fromkeys(range(vcpus), anywhere)
    pinned = False
    for pin in root.iterfind("cputune/vcpupin"):
        vcpu = parse_count(pin.get("vcpu"), f"{source}: <vcpupin>", most=MOST_THREADS)
        if vcpu in pins:  # libvirt ignores pins of vCPUs that the guest has not
            pins[vcpu] = parse_cpus(pin.get("cpuset"), f"{source}: <vcpupin vcpu='{vcpu}'>")
            pinned = True
    union, by_cell = _memory_cells(root, source)
    if not pinned and not by_cell and len(union) != 1:
        return ()
    sizes = page_sizes(root, host, source)
    placed = []
    for cell in guest_cells(root, vcpus, source):
        own = {vcpu: pins[vcpu] for vcpu in cell.vcpus}
        alone = CpuSet(vcpu for vcpu, cpus in own.items() if len(cpus) == 1)
        bound = by_cell.get(cell.id, union)
        placed.append(
            PlacedCell(
                guest_cell=cell.id,
                host_cell=bound.first() if len(bound) == 1 else _cell_of_pins(own, bound, host),
                vcpus=cell.vcpus,
                memory_kib=cell.memory_kib,
                page_kib=sizes.get(cell.id, sizes.get(None)),
                policy=_policy(alone, cell.vcpus),
                pins=own,
                dedicated=alone if alone and alone != cell.vcpus else None,
                distances=cell.distances,
            )
        )
    return tuple(placed)


def guest_cells(root: Element, vcpus: int, source: str) -> list[GuestCell]:
    """The guest's cells by id, one where it has no ``<numa>``; vCPUs that none names are the first's, as in QEMU."""
    everyone = CpuSet(range(vcpus))
    cells = []
    for index, node in enumerate(root.iterfind("cpu/numa/cell")):
        where = f"{source}: <cell> {index}"
        cells.append(
            GuestCell(
                parse_count(node.get("id", str(index)), where, most=MOST_THREADS),
                parse_cpus(node.get("cpus"), where) & everyone,
                parse_memory_kib(node.get("memory"), node.get("unit"), where),
                {
                    parse_count(other.get("id"), where, most=MOST_THREADS): parse_count(other.get("value"), where)
                    for other in node.iterfind("distances/sibling")
                },
            )
        )
    if not cells:
        return [GuestCell(0, everyone, memory_kib(root, source=source), {})]
    left = everyone - CpuSet(vcpu for cell in cells for vcpu in cell.vcpus)
    cells[0] = GuestCell(cells[0].id, cells[0].vcpus | left, cells[0].memory_kib, cells[0].distances)
    return sorted(cells, key=lambda cell: cell.id)


def _memory_cells(root: Element, source: str) -> tuple[CpuSet, dict[int, CpuSet]]:
    """The host cells of ``<numatune><memory>``, and those of each ``<memnode>`` by guest cell."""
    node = root.find("numatune/memory")
    union = parse_cpus(None if node is None else node.get("nodeset"), f"{source}: <numatune>")
    by_cell = {
        parse_count(memnode.get("cellid"), f"{source}: <memnode>", most=MOST_THREADS): parse_cpus(
            memnode.get("nodeset"), f"{source}: <memnode>"
        )
        for memnode in root.iterfind("numatune/memnode")
    }
    return union, by_cell


def _cell_of_pins(pins: Mapping[int, CpuSet], bound: CpuSet, host: HostTopology | None) -> int:
    """The host cell that most vCPUs are pinned into, the lowest of equals; else the lowest that has the memory."""
    votes = Counter[int]()
    for cell in host.cells if host is not None else ():
        votes[cell.id] = sum(1 for cpus in pins.values() if cpus and cpus <= cell.cpus)
    best = min(votes, key=lambda cell: (-votes[cell], cell), default=None)
    if best is not None and votes[best]:
        return best
    return bound.first() if bound else 0


def _policy(alone: CpuSet, vcpus: CpuSet) -> CpuPolicy:
    """Who is pinned to one pCPU is taken to own it: nothing else in a foreign domain says so."""
    if not alone:
        return CpuPolicy.SHARED
    return CpuPolicy.DEDICATED if alone == vcpus else CpuPolicy.MIXED


def page_sizes(root: Element, host: HostTopology | None, source: str) -> dict[int | None, int]:
    """Huge page size by guest cell; None is for the cells that no ``<page nodeset>`` names."""
    pages = root.find("memoryBacking/hugepages")
    if pages is None:
        return {}
    sizes: dict[int | None, int] = {}
    for page in pages.iterfind("page"):
        size = parse_memory_kib(page.get("size"), page.get("unit"), f"{source}: <page>")
        if "nodeset" not in page.attrib:
            sizes[None] = size
        sizes |= dict.fromkeys(parse_cpus(page.get("nodeset"), f"{source}: <page nodeset>"), size)
    if not sizes:
        pools = sorted({pool.size_kib for cell in host.cells for pool in cell.pages}) if host is not None else []
        sizes[None] = USUAL_HUGE_PAGE_KIB if USUAL_HUGE_PAGE_KIB in pools or len(pools) < 2 else pools[1]
    return sizes


def _mempolicy(root: Element, source: str) -> MemPolicy | None:
    node = root.find("numatune/memory")
    if node is None:
        node = root.find("numatune/memnode")
    if node is None:
        return None
    try:
        return MemPolicy(node.get("mode", "strict"))
    except ValueError as why:
        raise BadInput(f"{source}: <numatune> mode {node.get('mode')!r}; allowed: {', '.join(MemPolicy)}") from why


def _topology(root: Element, vcpus: int, source: str) -> CpuTopology:
    node = root.find("cpu/topology")
    if node is None:
        return CpuTopology(vcpus, 1, 1)
    size = {
        name: parse_count(node.get(name, "1"), f"{source}: <topology>", most=MOST_THREADS)
        for name in ("sockets", "dies", "clusters", "cores", "threads")
    }
    return CpuTopology(size["sockets"] * size["dies"], size["clusters"] * size["cores"], size["threads"])


def _devices(root: Element, host: HostTopology | None, source: str) -> tuple[PlacedDevice, ...]:
    known = {device.pci: cell.id for cell in (host.cells if host else ()) for device in cell.devices if device.pci}
    found = []
    for node in root.iterfind("devices/hostdev"):
        numbers = pci_of(node, source=source)
        if numbers is not None:
            domain, bus, slot, function = numbers
            pci = f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
            found.append(PlacedDevice(pci, known.get(pci)))
    return tuple(found)


def _pinning(placement: Placement, iothreads: Mapping[int, CpuSet]) -> tuple[object, ...]:
    """What libvirt's elements hold of a placement: pins, emulator, the given I/O threads, cells.

    An I/O thread without a pin floats where the guest floats.
    """
    unpinned = CpuSet() if placement.cells else placement.emulator
    return (
        {vcpu: cpus for cell in placement.cells for vcpu, cpus in cell.pins.items() if cpus},
        placement.emulator,
        {number: placement.iothreads.get(number) or unpinned for number in iothreads},
        {cell.guest_cell: cell.host_cell for cell in placement.cells},
    )
