"""Say why a guest does not fit on a host: the rule for each guest cell on each host cell, and what would help.

The changes at the end are verified by placing again, the least intrusive first.  Moving a guest is among them: one that
runs here, or one of --guests.  With --scheduler a scheduler says what it would decide now among all its hosts: what
every filter removes, the weights, the misfits; with --instance it says what it decided for one that it has.

Exit codes: 0 it fits, 3 it does not, 2 bad input, 5 the scheduler does not answer.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace

import msgspec

from agent.cli.answer import print_answer
from agent.cli.documents import load_request
from agent.cli.hosts import add_host_options, load_host, read_input
from agent.cli.live import Neighbours, add_usage_options, limits_of, neighbours_of
from agent.core.claims import claim
from agent.core.codec import decode_placement
from agent.core.errors import DOES_NOT_FIT
from agent.core.listing import NewInstance
from agent.core.misfit import Code
from agent.core.placement import Misfit, Nearest, Placement, Reason
from agent.core.topology import HostTopology
from agent.core.units import format_exact_kib, format_kib
from agent.core.usage import Usage

IN_KIB = (Code.PAGES_DO_NOT_DIVIDE, Code.NOT_ENOUGH_PAGES, Code.NOT_ENOUGH_MEMORY, Code.MEMORY_UNKNOWN, Code.RAM_RATIO)


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright explain``."""
    add_host_options(parser)
    about = parser.add_mutually_exclusive_group(required=True)
    about.add_argument("--request", metavar="FILE", help="a request: .json, .toml or .yaml; - is JSON")
    about.add_argument("--instance", metavar="INSTANCE", help="an instance of the scheduler, by id or name")
    held = parser.add_mutually_exclusive_group()
    add_usage_options(parser, beside=held)
    held.add_argument("--guests", metavar="FILE.jsonl", help="the Placement of each guest on the host, one a line")
    parser.add_argument(
        "--scheduler",
        metavar="URL",
        help="ask a scheduler about all its hosts instead of one host here; for --instance or CELLWRIGHT_SCHEDULER",
    )
    parser.add_argument("--token", metavar="TOKEN", help="for the scheduler; or CELLWRIGHT_TOKEN")
    parser.add_argument("--ca-file", metavar="FILE", help="the authority that signed the scheduler's certificate")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(args: Namespace) -> int:
    """Print why not; the exit code says whether it fits."""
    if args.scheduler is not None or args.instance is not None:
        return _ask_scheduler(args)
    from agent.placement import place
    from agent.placement.language import check_request, parse_guest
    from agent.placement.nearest import changes

    host, limits, request = load_host(args), limits_of(args), load_request(args.request)
    check_request(request)
    usage, guests = neighbours_of(args, host) if args.guests is None else _load_guests(args.guests)
    answer = place(host, usage, request, limits, guests={guest.name: guest.occupied() for guest in guests})
    if isinstance(answer, Placement):
        return print_answer(answer, args.format)
    found = changes(host, usage, request, limits, guests=guests)
    if args.format == "json":
        return print_answer(msgspec.structs.replace(answer, nearest=next(found, None)), args.format)
    sys.stdout.write(render_table(host, answer, len(parse_guest(request).cells), list(found)))
    return DOES_NOT_FIT


def _ask_scheduler(args: Namespace) -> int:
    """What the scheduler would decide now, or has decided; nothing is claimed."""
    from agent.compute.client import DEFAULT_ADDRESS, Client, path_of
    from agent.core.codec import to_tree
    from agent.picture.decision import render_decision

    address = args.scheduler or os.environ.get("CELLWRIGHT_SCHEDULER", DEFAULT_ADDRESS)
    client = Client(address, args.token or os.environ.get("CELLWRIGHT_TOKEN"), ca_file=args.ca_file)
    if args.instance is not None:
        decision = client.call("GET", path_of("instances", args.instance, "decision"))
    else:
        tree = to_tree(load_request(args.request))
        asked = {key: value for key, value in tree.items() if key in NewInstance.__struct_fields__}
        decision = client.call("POST", path_of("instances", "explain"), asked)
    sys.stdout.write(json.dumps(decision) + "\n" if args.format == "json" else render_decision(decision) + "\n")
    return DOES_NOT_FIT if decision["placement"] is None else 0


def render_table(host: HostTopology, misfit: Misfit, guest_cells: int, changes: list[Nearest]) -> str:
    """A row for each guest cell on each host cell, then the changes that would help."""
    lines = [f"{misfit.name or 'the guest'} does not fit on {misfit.host}:"]
    by_pair = {(reason.guest_cell, reason.host_cell): reason for reason in misfit.misfits}
    known = {cell.id for cell in host.cells}
    lines += [f"  {reason.message}" for reason in misfit.misfits if reason.host_cell not in known]
    if any(reason.host_cell in known for reason in misfit.misfits):
        rows = [("guest cell", "host cell", "rule", "wanted", "available")]
        for guest_cell in range(guest_cells):
            for host_cell in sorted(cell.id for cell in host.cells):
                reason = by_pair.get((guest_cell, host_cell))
                rows.append((str(guest_cell), str(host_cell), *_columns(reason)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    for number, change in enumerate(changes):
        lines.append(f"{'or' if number else 'nearest'}: {change.message} [{change.change}]")
    if not changes:
        lines.append("nearest: no single change was found that would make it fit")
    return "\n".join(lines) + "\n"


def _columns(reason: Reason | None) -> tuple[str, str, str]:
    if reason is None:
        return "fits", "", ""
    exact = format_exact_kib if reason.code == Code.PAGES_DO_NOT_DIVIDE else format_kib
    show = exact if reason.code in IN_KIB else str
    wanted, available = ("" if number is None else show(number) for number in (reason.wanted, reason.available))
    return reason.code, wanted, available


def _load_guests(path: str) -> Neighbours:
    lines = [(number, line) for number, line in enumerate(read_input(path).splitlines(), 1) if line.strip()]
    guests = tuple(decode_placement(line, source=f"{path}:{number}") for number, line in lines)
    usage = Usage()
    for guest in guests:
        usage = claim(usage, guest)
    return usage, guests
