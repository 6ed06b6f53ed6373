"""Which processor is which thread of which core of which socket, and the sums that people ask for first."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.cpuset import CpuSet
from agent.core.topology import Core, HostTopology


def render_cpus(host: HostTopology) -> str:
    """A row per online pCPU (processor, core, socket, cell), the pCPUs of each socket, and a summary."""
    rows = [("processor", "core", "socket", "cell")]
    by_cpu: dict[int, tuple[Core | None, str]] = dict.fromkeys(host.online, (None, "-"))
    for cell in host.cells:
        by_cpu |= dict.fromkeys(cell.cpus, (None, str(cell.id)))
        by_cpu |= {cpu: (core, str(cell.id)) for core in cell.cores for cpu in core.cpus}
    by_cpu |= {cpu: (core, "-") for core in host.outside_cells for cpu in core.cpus}
    sockets: dict[int | None, set[int]] = {}
    for cpu, (core, cell_id) in sorted(by_cpu.items()):
        socket = core.socket if core else None
        rows.append((str(cpu), _shown(core.core if core else None), _shown(socket), cell_id))
        sockets.setdefault(socket, set()).add(cpu)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append("")
    for socket, cpus in sorted(sockets.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        lines.append(f"socket {_shown(socket)}: pCPUs {CpuSet(cpus)}")
    return "\n".join([*lines, "", *_summary(host, sockets)]) + "\n"


def _summary(host: HostTopology, sockets: dict[int | None, set[int]]) -> list[str]:
    cores_of: dict[int | None, set[tuple[int | None, ...]]] = {}
    for core in [*(core for cell in host.cells for core in cell.cores), *host.outside_cells]:
        cores_of.setdefault(core.socket, set()).add((core.die, core.core, core.cpus.first()))
    facts = [
        ("logical processors", str(len(host.online))),
        ("sockets", _shown(host.sockets)),
        ("siblings in a socket", _span(len(cpus) for socket, cpus in sockets.items() if socket is not None)),
        ("cores in a socket", _span(len(cores) for socket, cores in cores_of.items() if socket is not None)),
        ("cores in total", _shown(host.cores)),
        ("hyper-threading", {True: "on", False: "off", None: "-"}[host.smt]),
    ]
    if host.offline:
        facts.append(("offline", str(host.offline)))
    return [f"{name + ':':<22}{value}" for name, value in facts]


def _span(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    return "-" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _shown(value: int | None) -> str:
    return "-" if value is None else str(value)
