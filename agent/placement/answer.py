"""A decision in words of the Placement document: pins, emulator, I/O threads, idle siblings, what the guest sees."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.cpuset import EMPTY, CpuSet
from agent.core.guest import GuestTopology
from agent.core.placement import PlacedCell, PlacedDevice, Placement
from agent.core.policy import CpuPolicy, EmulatorPolicy
from agent.placement.cores import Plan, mask_of
from agent.placement.guest_topology import choose_topology
from agent.placement.layout import Layout
from agent.placement.room import Room
from agent.placement.rules import DEDICATED, resolve_page


def render_answer(
    room: Room,
    guest: GuestTopology,
    *,
    chosen: Sequence[int],
    plans: Sequence[Plan],
    devices: tuple[PlacedDevice, ...],
) -> Placement:
    """The Placement of a guest whose cell N goes to the host cell with index ``chosen[N]`` as ``plans[N]`` says."""
    layout = room.layout
    cells: list[PlacedCell] = []
    kept: list[int] = []
    pinned = reserved = 0
    for number, plan in enumerate(plans):
        pins, mask, beside = plan.pcpus()
        idle = plan.idle | mask_of(beside) if beside else plan.idle
        cells.append(_placed_cell(room, guest, number, pins, reserved=idle, chosen=chosen))
        kept += beside
        pinned |= mask
        reserved |= idle
    emulator = _emulator(layout, guest, cells, pinned=pinned, kept=kept)
    return Placement(
        host=layout.hostname,
        name=guest.name,
        flavor=guest.flavor,
        vcpus=guest.vcpus,
        memory_kib=guest.memory_kib,
        cells=tuple(cells),
        emulator=emulator,
        iothreads=_iothreads(layout, guest, emulator, kept),
        reserved=CpuSet.of_mask(reserved) if reserved else EMPTY,
        realtime=guest.realtime,
        mempolicy=guest.mempolicy if cells else None,
        cpu_topology=choose_topology(guest.vcpus, guest.topology, sibling_threads=_sibling_threads(guest, plans)),
        tune=guest.tune,
        schedules=guest.schedules,
        locked=guest.locked,
        devices=devices,
    )


def _placed_cell(
    host: Room, guest: GuestTopology, number: int, pcpus: list[int], *, reserved: int, chosen: Sequence[int]
) -> PlacedCell:
    layout, index = host.layout, chosen[number]
    room = host.cells[index]
    cell = guest.cells[number]
    single = layout.single
    if guest.cpu_policy is DEDICATED:
        pins = dict(zip(guest.vcpu_lists[number], map(single.__getitem__, pcpus), strict=True))
    else:
        owned = dict(zip(cell.dedicated, pcpus, strict=True))
        pins = {vcpu: single[owned[vcpu]] if vcpu in owned else room.cell.shared_set for vcpu in cell.vcpus}
    page = None if guest.page is None else resolve_page(room, guest, cell.memory_kib)
    base = next(iter(room.pools), None)
    return PlacedCell(
        guest_cell=number,
        host_cell=room.cell.id,
        vcpus=cell.vcpus,
        memory_kib=cell.memory_kib,
        page_kib=page,
        pool_kib=page or base,
        base_page_kib=base or 4,
        policy=guest.cpu_policy,
        pins=pins,
        dedicated=cell.dedicated if guest.cpu_policy is CpuPolicy.MIXED else None,
        reserved=CpuSet.of_mask(reserved) if reserved else EMPTY,
        distances=_told_distances(layout, chosen, index) if len(chosen) > 1 else {},
    )


def _told_distances(layout: Layout, chosen: Sequence[int], index: int) -> dict[int, int]:
    """Guest cell → the distance of its host cell, as the guest's own ACPI table shall say it."""
    return {other: layout.distances[index][far] for other, far in enumerate(chosen)}


def _emulator(
    layout: Layout, guest: GuestTopology, cells: Sequence[PlacedCell], *, pinned: int, kept: list[int]
) -> CpuSet:
    """Where QEMU's own threads run; ``pinned`` masks the pCPUs that vCPUs own, ``kept`` lists those beside them.

    ``isolate``: on the pCPU kept for them.  ``share``: on the shared set, if the host has one beside the dedicated set.
    Else on the union of the guest's pins, without those of real-time vCPUs: also where one set serves both kinds of
    vCPUs, and a floating one may run beside them.
    """
    if not cells:
        return layout.floating
    if guest.emulator_policy is not None:
        if guest.emulator_policy is EmulatorPolicy.ISOLATE:
            return layout.single[kept[0]]
        if layout.shared_configured:
            return layout.floating
    if guest.cpu_policy is DEDICATED and not guest.realtime:
        return CpuSet.of_mask(pinned)
    everything = hurried = 0
    for cell in cells:
        for vcpu, cpus in cell.pins.items():
            everything |= cpus.mask
            if vcpu in guest.realtime:
                hurried |= cpus.mask
    return CpuSet.of_mask(everything & ~hurried or everything)


def _iothreads(layout: Layout, guest: GuestTopology, emulator: CpuSet, kept: list[int]) -> dict[int, CpuSet]:
    """I/O thread N, counted from 1 as libvirt does → its pCPUs."""
    if not guest.iothreads.count:
        return {}
    numbers = range(1, guest.iothreads.count + 1)
    where = guest.iothreads.where
    if where == "dedicated":
        return {number: layout.single[kept[-number]] for number in numbers}
    if where == "shared":
        return dict.fromkeys(numbers, layout.floating)
    return dict.fromkeys(numbers, where if isinstance(where, CpuSet) else emulator)


def _sibling_threads(guest: GuestTopology, plans: Sequence[Plan]) -> int:
    """The most threads t such that vCPUs 0..t-1, t..2t-1 and so on are pinned to the threads of one core each."""
    if guest.cpu_policy is not DEDICATED or not guest.topology.mirror:
        return 1
    threads = plans[0].cell.threads_per_core  # every cell has dedicated vCPUs: the first bounds all
    while threads > 1:
        if guest.vcpus % threads == 0:
            for plan, cell in zip(plans, guest.cells, strict=True):
                if not (plan.fills(threads) and _in_blocks(cell.vcpus.mask, threads)):
                    break
            else:
                return threads
        threads -= 1
    return 1


def _in_blocks(vcpus: int, threads: int) -> bool:
    """Whether a guest cell's vCPUs come in whole blocks k·t … k·t+t-1."""
    block = (1 << threads) - 1
    blocks = -(-vcpus.bit_length() // threads)
    firsts = vcpus & ((1 << blocks * threads) - 1) // block
    return firsts * block == vcpus
