"""A refusal as a reason that a person reads: which rule, on which cells, wanted and available."""

from __future__ import annotations

from agent.core.guest import GuestTopology
from agent.core.misfit import Code
from agent.core.placement import Reason
from agent.core.units import format_exact_kib, format_kib
from agent.placement.room import CellRoom
from agent.placement.rules import Refusal

TEXTS = {
    Code.NOT_THE_CELL_WISHED: "cell {cell} is not the one that cw:host_cells names",
    Code.NO_SUCH_PAGES: "cell {cell} has no pages of the size wanted ({page}); it has {pools}",
    Code.PAGES_DO_NOT_DIVIDE: "{wanted_exact} cannot be cut into pages of {available_size}",
    Code.NOT_ENOUGH_PAGES: "cell {cell} has {available_size} free in pages ({page}) of the {wanted_size} wanted",
    Code.NOT_ENOUGH_MEMORY: "cell {cell} has {available_size} of memory for the {wanted_size} wanted",
    Code.MEMORY_UNKNOWN: "how much memory cell {cell} has is not known, and {wanted_size} are wanted",
    Code.NOT_ENOUGH_PCPUS: "cell {cell} has {available} free dedicated pCPUs of the {wanted} wanted",
    Code.NOT_ENOUGH_SIBLINGS: "cell {cell} has room for {available} of {wanted} vCPUs beside their siblings",
    Code.NOT_ENOUGH_WHOLE_CORES: "cell {cell} has {available} free cores of the {wanted} wanted by isolate",
    Code.NO_SMT: "cell {cell} has one thread a core, and hw:cpu_thread_policy=require wants siblings",
    Code.HOST_HAS_SMT: "cell {cell} has several threads a core, and the image's isolate wants one",
    Code.NOTHING_BESIDE_EMULATOR: "guest cell {guest} has no dedicated vCPU beside which the emulator could be kept",
    Code.NOTHING_TO_ISOLATE: "guest cell {guest} has no dedicated vCPU, and isolate wants one in every guest cell",
    Code.NOT_ENOUGH_SHARED: "cell {cell} has {available} shared pCPUs for {wanted} floating vCPUs",
    Code.CPU_RATIO: "cell {cell} has room for {available} of {wanted} floating vCPUs under cpu_allocation_ratio",
    Code.RAM_RATIO: "cell {cell} has {available_size} of {wanted_size} left under ram_allocation_ratio",
    Code.NOT_ENOUGH_IN_L3: "cell {cell} has {available} free dedicated pCPUs of the {wanted} wanted in those L3 groups",
}


def explain_refusal(refusal: Refusal, *, guest: GuestTopology, number: int, room: CellRoom) -> Reason:
    """The reason why guest cell ``number`` does not fit on this host cell."""
    code, wanted, available = refusal
    message = TEXTS[code].format(
        cell=room.cell.id,
        guest=number,
        wanted=wanted,
        available=available,
        wanted_size=format_kib(wanted or 0),
        wanted_exact=format_exact_kib(wanted or 0),
        available_size=format_kib(max(0, available or 0)),
        page=format_kib(guest.page) if isinstance(guest.page, int) else guest.page,
        pools=", ".join(format_kib(size) for size in room.pools) or "none",
    )
    return Reason(
        code=code, message=message, guest_cell=number, host_cell=room.cell.id, wanted=wanted, available=available
    )


def contended(violators: tuple[int, ...], host_cells: list[int]) -> Reason:
    """The reason why guest cells that each fit somewhere do not fit together."""
    return Reason(
        code=Code.CELLS_CONTENDED,
        message=f"guest cells {_listed(violators)} compete for "
        + (f"host cell{'s' * (len(host_cells) > 1)} {_listed(host_cells)}" if host_cells else "no host cell at all"),
        wanted=len(violators),
        available=len(host_cells),
    )


def _listed(numbers: list[int] | tuple[int, ...]) -> str:
    *most, last = [str(number) for number in numbers]
    return f"{', '.join(most)} and {last}" if most else last
