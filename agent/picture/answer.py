"""A placement or a misfit as text: one line a guest cell and what goes beside, or one line a reason."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.cpuset import CpuSet
from agent.core.placement import Misfit, Placement, Schedule, Schedules
from agent.core.units import format_kib


def render_answer(answer: Placement | Misfit, *, verb: str = "fits on") -> str:
    """The answer for people: a line a guest cell and what goes beside, or a line a reason.

    ``verb`` says what became of the placement: a guest fits on its host, runs on it, is placed on it.
    """
    if isinstance(answer, Misfit):
        lines = [f"{answer.name or 'the guest'} does not fit on {answer.host}:"]
        several = len({reason.guest_cell for reason in answer.misfits} - {None}) > 1
        for reason in answer.misfits:
            which = f"guest cell {reason.guest_cell}: " if several and reason.guest_cell is not None else ""
            lines.append(f"  {which}{reason.message}")
        if answer.nearest:
            lines.append(f"nearest: {answer.nearest.message}")
        return "\n".join(lines) + "\n"
    rows = [("guest cell", "host cell", "vCPUs", "pCPUs", "memory", "pages", "policy")]
    for cell in answer.cells:
        pinned = CpuSet(cpu for cpus in cell.pins.values() for cpu in cpus)
        pages = "-" if cell.page_kib is None else format_kib(cell.page_kib)
        numbers = str(cell.guest_cell), str(cell.host_cell)
        rows.append((*numbers, str(cell.vcpus), str(pinned), format_kib(cell.memory_kib), pages, cell.policy))
    lines = [f"{answer.name or 'the guest'} {verb} {answer.host}"]
    if answer.cells:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    else:
        lines.append(f"floats over pCPUs {answer.emulator}")
    lines += [f"{label:<11} {text}" for label, text in _beside(answer) if text]
    return "\n".join(lines) + "\n"


def _beside(answer: Placement) -> Iterator[tuple[str, str]]:
    """What goes beside the guest cells, label and text; an empty text is left out."""
    seen = answer.cpu_topology
    yield "guest sees", f"{seen.sockets} sockets × {seen.cores} cores × {seen.threads} threads"
    yield "emulator", str(answer.emulator) if answer.cells else ""
    yield "I/O threads", "; ".join(f"{number}: {cpus}" for number, cpus in sorted(answer.iothreads.items()))
    yield "reserved", str(answer.reserved)
    yield "real time", str(answer.realtime) and f"vCPUs {answer.realtime}"
    yield "classes", "; ".join(_classes(answer.schedules))
    for share in answer.cache_shares:
        kind = "" if share.type == "both" else f" for {share.type}"
        yield "cache", f"{format_kib(share.size_kib)} of L{share.level} {share.cache}{kind}, vCPUs {share.vcpus}"
    for limit in answer.bandwidth_shares:
        yield "bandwidth", f"{limit.percent}% of that behind L3 {limit.cache}, vCPUs {limit.vcpus}"
    yield "memory", (answer.mempolicy or "") + (", locked" if answer.locked else "")
    yield "devices", ", ".join(f"{device.pci} (cell {device.host_cell})" for device in answer.devices)


def _classes(schedules: Schedules) -> Iterator[str]:
    """The scheduling classes that were asked for, alike threads together."""
    for who, by_number in (("vCPUs", schedules.vcpus), ("I/O threads", schedules.iothreads)):
        for schedule in dict.fromkeys(by_number.values()):
            numbers = CpuSet(number for number, one in by_number.items() if one == schedule)
            yield f"{who} {numbers} {_class(schedule)}"
    if schedules.emulator is not None:
        yield f"emulator {_class(schedules.emulator)}"


def _class(schedule: Schedule) -> str:
    return schedule.scheduler + (f" {schedule.priority}" if schedule.priority else "")
