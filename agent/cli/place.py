"""Decide where a guest goes on a host: which cells, which pCPUs, which pages; or say why it does not fit.

Nothing is changed anywhere.  With --requests, one JSON request a line is placed on what the former ones left, and
answered with one Placement document a line.  Exit codes: 0 fits, 3 does not fit (with --requests: any of them), 2 bad
input.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import msgspec

from agent.cli.documents import load_request
from agent.cli.hosts import add_host_options, load_host, read_input
from agent.cli.live import add_usage_options, limits_of, usage_of
from agent.core.claims import claim
from agent.core.codec import decode, encode
from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.placement import Misfit, Placement
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.units import format_kib
from agent.core.usage import Limits, Usage

MISFIT = 3


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright place``."""
    add_host_options(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--request", metavar="FILE", help="a request: .json, .toml or .yaml; - is JSON on stdin")
    wanted.add_argument("--requests", metavar="FILE.jsonl", help="one JSON request a line, placed in turn; - is stdin")
    add_usage_options(parser)
    parser.add_argument("--format", choices=("table", "json"), help="default: table; with --requests always json")


def run(args: Namespace) -> int:
    """Print the answer; the exit code says whether everything fits."""
    host = load_host(args)
    usage, limits = usage_of(args, host), limits_of(args)
    if args.requests is not None:
        return _place_many(host, usage, limits, args.requests)
    from agent.placement import place
    from agent.placement.language import check_request

    request = load_request(args.request)
    check_request(request)
    answer = place(host, usage, request, limits)
    if isinstance(answer, Misfit):
        from agent.placement.nearest import nearest

        answer = msgspec.structs.replace(answer, nearest=nearest(host, usage, request, limits))
    sys.stdout.write(encode(answer).decode() + "\n" if args.format == "json" else render_table(answer))
    return 0 if answer.fits else MISFIT


def _place_many(host: HostTopology, usage: Usage, limits: Limits | None, path: str) -> int:
    from agent.placement import place
    from agent.placement.language import check_request

    code = 0
    guests: dict[str, CpuSet] = {}
    for source, request in _requests(path):
        try:
            check_request(request)
            answer = place(host, usage, request, limits, guests=guests)
        except BadRequest as why:
            raise BadRequest(f"{source}: {why.key}", why.value, why.why, allowed=why.allowed) from why
        print(encode(answer).decode())
        if isinstance(answer, Misfit):
            code = MISFIT
        else:
            usage = claim(usage, answer)
            guests[request.name] = answer.owned() or answer.emulator
    return code


def _requests(path: str) -> Iterator[tuple[str, Request]]:
    for number, line in enumerate(read_input(path).splitlines(), 1):
        if line.strip():
            source = f"{path}:{number}"
            yield source, decode(line, Request, source=source)


def render_table(answer: Placement | Misfit) -> str:
    """The answer for people: a line a guest cell and what goes beside, or a line a reason."""
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
        owned = CpuSet(cpu for cpus in cell.pins.values() for cpu in cpus)
        pages = "-" if cell.page_kib is None else format_kib(cell.page_kib)
        numbers = str(cell.guest_cell), str(cell.host_cell)
        rows.append((*numbers, str(cell.vcpus), str(owned), format_kib(cell.memory_kib), pages, cell.policy))
    lines = [f"{answer.name or 'the guest'} fits on {answer.host}"]
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
    yield "memory", (answer.mempolicy or "") + (", locked" if answer.locked else "")
    yield "devices", ", ".join(f"{device.pci} (cell {device.host_cell})" for device in answer.devices)
