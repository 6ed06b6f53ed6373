"""Say how many more guests of one flavor fit on a host, and what runs out first.

The answer is exact where guests placed one by one reach what arithmetic allows at most; else both numbers are given.
Exit codes: 0 at least one more fits, 3 none does, 2 bad input.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from agent.cli.documents import load_flavor, load_request
from agent.cli.hosts import add_host_options, load_host
from agent.cli.live import add_usage_options, limits_of, neighbours_of
from agent.core.codec import encode
from agent.core.errors import DOES_NOT_FIT
from agent.placement.capacity import Capacity, CellCapacity, capacity
from agent.placement.language import check_request


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright capacity``."""
    add_host_options(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--flavor", metavar="FILE", help="a flavor or a request: .json, .toml or .yaml; - is JSON on stdin"
    )
    wanted.add_argument("--request", metavar="FILE", help="a request: the same, with image properties and hints")
    add_usage_options(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(args: Namespace) -> int:
    """Print how many fit."""
    host = load_host(args)
    request = load_flavor(args.flavor) if args.flavor is not None else load_request(args.request)
    check_request(request)
    usage, _ = neighbours_of(args, host)
    answer = capacity(host, usage, request, limits_of(args))
    sys.stdout.write(encode(answer).decode() + "\n" if args.format == "json" else render_table(answer))
    return DOES_NOT_FIT if answer.count == 0 else 0


def render_table(answer: Capacity) -> str:
    """The count in a sentence, what each cell holds alone, and what refuses the next guest."""
    what = f"of {answer.flavor}" if answer.flavor else "like this"
    if answer.count is None:
        return f"{answer.host} holds any number of guests {what}: floating guests without allocation ratios\n"
    how_many = str(answer.count) if answer.exact else f"at least {answer.count} and at most {answer.at_most}"
    guests = "guest" if how_many == "1" else "guests"
    lines = [f"{answer.host} holds {how_many} more {guests} {what}{' (exact)' * answer.exact}"]
    if len(answer.cells) > 1:
        lines += [f"  cell {cell.host_cell} alone has room for guest cells: {_held(cell)}" for cell in answer.cells]
    if answer.runs_out is not None:
        lines.append(f"runs out first: {answer.runs_out}")
        lines += [f"  {message}" for message in dict.fromkeys(reason.message for reason in answer.reasons)]
    return "\n".join(lines) + "\n"


def _held(cell: CellCapacity) -> str:
    """How many guest cells; where they differ, how many like each."""
    counts = ["any number" if count is None else str(count) for count in cell.like or (cell.guest_cells,)]
    if not cell.like:
        return counts[0]
    return ", ".join(f"{count} like guest cell {number}" for number, count in enumerate(counts))
