"""Decide where a guest goes on a host: which cells, which pCPUs, which pages; or say why it does not fit.

Nothing is changed anywhere.  With --requests, one JSON request a line is placed on what the former ones left, and
answered with one Placement document a line.  Exit codes: 0 fits, 3 does not fit (with --requests: any of them), 2 bad
input.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import msgspec

from agent.cli.answer import print_answer
from agent.cli.documents import load_request
from agent.cli.hosts import add_host_options, load_host, read_input
from agent.cli.live import Neighbours, add_usage_options, limits_of, neighbours_of
from agent.core.claims import claim
from agent.core.codec import decode, encode
from agent.core.errors import DOES_NOT_FIT, BadRequest
from agent.core.placement import Misfit
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits


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
    neighbours, limits = neighbours_of(args, host), limits_of(args)
    if args.requests is not None:
        return _place_many(host, neighbours, limits, args.requests)
    from agent.placement import place
    from agent.placement.language import check_request

    request = load_request(args.request)
    check_request(request)
    usage, running = neighbours
    answer = place(host, usage, request, limits, guests={guest.name: guest.occupied() for guest in running})
    if isinstance(answer, Misfit):
        from agent.placement.nearest import nearest

        answer = msgspec.structs.replace(answer, nearest=nearest(host, usage, request, limits, guests=running))
    return print_answer(answer, args.format or "table")


def _place_many(host: HostTopology, neighbours: Neighbours, limits: Limits | None, path: str) -> int:
    from agent.placement import place
    from agent.placement.language import check_request

    code = 0
    usage, running = neighbours
    guests = {guest.name: guest.occupied() for guest in running}
    for source, request in _requests(path):
        try:
            check_request(request)
            answer = place(host, usage, request, limits, guests=guests)
        except BadRequest as why:
            raise BadRequest(f"{source}: {why.key}", why.value, why.why, allowed=why.allowed) from why
        print(encode(answer).decode())
        if isinstance(answer, Misfit):
            code = DOES_NOT_FIT
        else:
            usage = claim(usage, answer)
            guests[request.name] = answer.occupied()
    return code


def _requests(path: str) -> Iterator[tuple[str, Request]]:
    for number, line in enumerate(read_input(path).splitlines(), 1):
        if line.strip():
            source = f"{path}:{number}"
            yield source, decode(line, Request, source=source)
