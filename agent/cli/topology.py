"""What this host, or a saved one, is made of: cells, cores, memory, page pools."""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from agent.core.topology import HostTopology

FORMATS = {
    "table": "agent.picture.table:render_table",
    "numactl": "agent.picture.numactl:render_numactl",
    "cpus": "agent.picture.cpus:render_cpus",
    "json": "agent.picture.document:render_json",
}
"""Format → the function (HostTopology → text) that makes it."""


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    from agent.cli.hosts import add_host_options

    parser.add_argument("--format", choices=FORMATS, default="table", help="what to print (default: %(default)s)")
    add_host_options(parser)


def run(args: Namespace) -> int:
    """Print the host in the wanted format."""
    from agent.cli.hosts import load_host

    sys.stdout.write(render(load_host(args), args.format))
    return 0


def render(host: HostTopology, format: str) -> str:
    """The host as text in one of FORMATS."""
    module, _, function = FORMATS[format].partition(":")
    text: str = getattr(import_module(module), function)(host)
    return text
