"""Take our pins away from a domain: its configuration and the masks of its threads are again as before the first pin.

Where the journal knows the domain, its configuration comes back byte for byte.  Where it does not, our metadata in the
domain remembers what was there, and whatever somebody changed beside the pins since stays changed.  Exit codes: 0 done,
1 it failed and was put back, 2 nothing of ours is in it, or somebody changed it since (--force), 5 libvirt is not
reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.cli.connect import add_connect_options, changing

if TYPE_CHECKING:
    from agent.compute.driver import Driver
    from agent.compute.journal import Journal
    from agent.core.cpuset import CpuSet


def configure(parser: ArgumentParser) -> None:
    """Which domain."""
    parser.add_argument("domain", metavar="DOMAIN", help="name of a domain that was pinned")
    parser.add_argument("--force", action="store_true", help="even when somebody else changed the domain since")
    parser.add_argument("--dry-run", action="store_true", help="print what would be taken back and change nothing")
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Unpin the domain."""
    from agent.compute.unpin import apply_unpin
    from agent.inspection.host import read_host

    online = read_host().online
    with changing(args) as (libvirt, journal):
        libvirt.domain(args.domain)
        if args.dry_run:
            sys.stdout.write(render(libvirt, journal, args.domain, online))
            return 0
        how = apply_unpin(libvirt, journal, args.domain, online=online, force=args.force)
    sys.stdout.write(f"{args.domain} is unpinned, {how}\n")
    return 0


def render(libvirt: Driver, journal: Journal, name: str, online: CpuSet) -> str:
    """What unpinning would change."""
    from agent.cli.difference import render_difference
    from agent.cli.undo import render_undo
    from agent.compute.unpin import pin_entries, plan_unpin

    if entries := pin_entries(libvirt, journal, name):
        return render_undo(libvirt, entries) + "\n"
    plan = plan_unpin(libvirt, name, online=online)
    return render_difference(name, plan.before.config, plan.config, plan.changes())
