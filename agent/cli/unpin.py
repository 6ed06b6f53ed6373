"""Take our pins away from a domain: its configuration and the masks of its threads are again as before the first pin.

Where the journal knows the domain, its configuration comes back byte for byte.  Where it does not, our metadata in the
domain remembers what was there, and whatever somebody changed beside the pins since stays changed.  Exit codes: 0 done,
1 it failed and was put back, 2 nothing of ours is in it, or somebody changed it since (--force), 5 libvirt is not
reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from agent.cli.connect import add_connect_options, changing


def configure(parser: ArgumentParser) -> None:
    """Which domain."""
    parser.add_argument("domain", metavar="DOMAIN", help="name of a domain that was pinned")
    parser.add_argument("--force", action="store_true", help="even when somebody else changed the domain since")
    parser.add_argument("--dry-run", action="store_true", help="print what would be taken back and change nothing")
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Unpin the domain."""
    from agent.compute.unpin import apply_unpin, pin_entries
    from agent.inspection.host import read_host

    with changing(args) as (libvirt, journal):
        libvirt.domain(args.domain)
        if args.dry_run:
            from agent.cli.undo import render_undo

            entries = pin_entries(libvirt, journal, args.domain)
            print(
                render_undo(libvirt, entries) if entries else f"{args.domain}: our pins would be taken out of its XML"
            )
            return 0
        how = apply_unpin(libvirt, journal, args.domain, online=read_host().online, force=args.force)
    sys.stdout.write(f"{args.domain} is unpinned, {how}\n")
    return 0
