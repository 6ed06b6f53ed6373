"""The same guest on other host cells: its placement over again, cell by cell, with what it asked for then."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.compute.usage import Claimant, sum_usage
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.placement import Misfit, PlacedCell, Placement
from agent.core.policy import CpuPolicy
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement import place
from agent.placement.layout import layout_of
from agent.placement.shares import move_shares

KIB_PER_MIB = 1024


def relocate(
    placement: Placement,
    targets: Sequence[int],
    host: HostTopology,
    *,
    claimants: Sequence[Claimant],
    limits: Limits | None = None,
) -> Placement | Misfit:
    """The placement with guest cell i on host cell ``targets[i]``, or why that does not fit beside the ``claimants``.

    BadInput for a number of targets that is not that of the guest's cells, for a target twice, and for one that the
    host does not have.
    """
    _check_targets(placement, targets, host)
    usage = sum_usage(claimants)
    answers = []
    for number, (cell, target) in enumerate(zip(placement.cells, targets, strict=True)):
        only = msgspec.structs.replace(host, cells=tuple(one for one in host.cells if one.id == target))
        held = Usage(cells=tuple(one for one in usage.cells if one.id == target), devices=usage.devices)
        answer = place(only, held, _request(placement, cell, first=number == 0), limits)
        if isinstance(answer, Misfit):
            return msgspec.structs.replace(answer, name=placement.name, nearest=None)
        answers.append(answer)
    cells = tuple(_moved(cell, answer.cells[0]) for cell, answer in zip(placement.cells, answers, strict=True))
    emulator = _emulator(placement, cells, answers[0])
    reserved = CpuSet(cpu for answer in answers for cpu in answer.reserved)
    moved = msgspec.structs.replace(
        placement,
        host=host.hostname,
        cells=cells,
        reserved=reserved,
        emulator=emulator,
        iothreads={n: emulator if cpus == placement.emulator else cpus for n, cpus in placement.iothreads.items()},
    )
    return move_shares(layout_of(host), moved)


def _check_targets(placement: Placement, targets: Sequence[int], host: HostTopology) -> None:
    if not placement.cells:
        raise BadInput(f"guest {placement.name} floats over the host: it is on no cell that it could leave")
    if len(targets) != len(placement.cells):
        raise BadInput(f"guest {placement.name} has {len(placement.cells)} cells; --to names {len(targets)}")
    if len(set(targets)) < len(targets):
        raise BadInput(f"--to {','.join(map(str, targets))}: guest cells go to distinct host cells")
    there = sorted(cell.id for cell in host.cells)
    for target in targets:
        if target not in there:
            raise BadInput(f"--to {target}: this host has no such cell; its cells: {', '.join(map(str, there))}")


def _request(placement: Placement, cell: PlacedCell, *, first: bool) -> Request:
    """What the guest cell asked for, as a guest of its own."""
    specs: dict[str, str | int | float | bool] = {"hw:numa_nodes": 1, "hw:cpu_policy": str(cell.policy)}
    if cell.policy is not CpuPolicy.SHARED and _isolated(placement, cell):
        specs["hw:cpu_thread_policy"] = "isolate"
    if cell.policy is CpuPolicy.MIXED:
        numbers = list(cell.vcpus)
        specs["hw:cpu_dedicated_mask"] = str(CpuSet(numbers.index(vcpu) for vcpu in cell.owning()))
    if cell.page_kib is not None:
        specs["hw:mem_page_size"] = cell.page_kib
    if first and _emulator_apart(placement):
        specs["hw:emulator_threads_policy"] = "isolate"
    memory_mb = max(1, -(-cell.memory_kib // KIB_PER_MIB))
    return Request(Flavor(vcpus=len(cell.vcpus), ram_mb=memory_mb, extra_specs=specs), name=placement.name)


def _emulator_apart(placement: Placement) -> bool:
    """Whether the emulator has pCPUs of its own."""
    return bool(placement.emulator) and placement.emulator <= placement.reserved


def _isolated(placement: Placement, cell: PlacedCell) -> bool:
    """Whether siblings are kept idle: more is reserved than the emulator needs."""
    return bool(cell.reserved - placement.emulator)


def _moved(old: PlacedCell, new: PlacedCell) -> PlacedCell:
    """The old guest cell where the new one was placed; the new one's vCPUs are numbered from 0."""
    numbers = dict(enumerate(old.vcpus))
    return msgspec.structs.replace(
        old,
        host_cell=new.host_cell,
        pins={numbers[vcpu]: cpus for vcpu, cpus in new.pins.items()},
        pool_kib=new.pool_kib,
        reserved=new.reserved,
    )


def _emulator(placement: Placement, cells: tuple[PlacedCell, ...], first: Placement) -> CpuSet:
    """With the pins if it was with the pins, on pCPUs of its own if it had some, else where it is."""
    before = CpuSet(cpu for cell in placement.cells for cpus in cell.pins.values() for cpu in cpus)
    if _emulator_apart(placement):
        return first.emulator
    if placement.emulator <= before:
        return CpuSet(cpu for cell in cells for cpus in cell.pins.values() for cpu in cpus)
    return placement.emulator
