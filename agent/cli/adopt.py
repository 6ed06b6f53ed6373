"""Read a foreign guest's pins in as claims, so that later guests are placed around them and verify knows them.

Our metadata is written into the domain, running and configured; nothing else of it changes.  pCPUs that another guest
owns too are reported.  Exit codes: 0 adopted, 2 it is ours already, 4 adopted, and pCPUs have two owners, 5 libvirt is
not reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from agent.cli.answer import add_answer_format, print_answer
from agent.cli.connect import add_connect_options, changing
from agent.core.errors import FINDINGS


def configure(parser: ArgumentParser) -> None:
    """Which domain, and for whom."""
    from agent.cli.hosts import add_settings_options

    parser.add_argument("domain", metavar="DOMAIN", help="name of a domain that somebody else made")
    parser.add_argument("--owner", default="", help="whom the guest is for; goes into the metadata")
    parser.add_argument("--dry-run", action="store_true", help="print the claims and change nothing")
    add_answer_format(parser)
    add_settings_options(parser)
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Adopt the domain and print what it claims."""
    from agent.cli.hosts import load_host
    from agent.compute.adopt import adoption_overlaps, apply_adoption, plan_adoption
    from agent.compute.usage import read_claimants

    with changing(args) as (libvirt, journal):
        host = load_host(args)
        placement = plan_adoption(libvirt, args.domain, host)
        overlaps = adoption_overlaps(placement, read_claimants(libvirt, host, without=[args.domain]))
        if not args.dry_run:
            created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            apply_adoption(libvirt, journal, placement, owner=args.owner, created_at=created_at)
    print_answer(placement, args.format, verb="holds on")
    for finding in overlaps:
        print(finding.message, file=sys.stderr if args.format == "json" else sys.stdout)
    return FINDINGS if overlaps else 0
