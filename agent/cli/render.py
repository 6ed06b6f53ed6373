"""Print the domain XML of a placement: from a template, or grafted into a domain of yours.

Exit codes: 0 printed, 2 bad input, 3 the document says that the guest does not fit.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from agent.cli.hosts import read_input
from agent.core.codec import decode_answer
from agent.core.errors import DOES_NOT_FIT
from agent.core.placement import Misfit


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``cellwright render``."""
    parser.add_argument("placement", metavar="PLACEMENT.json", help="answer of `cellwright place`; - is stdin")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--template", default="plain", metavar="NAME", help="plain (default), realtime, dpdk or tiny")
    base.add_argument("--domain", metavar="FILE.xml", help="graft into this domain, changing nothing else")
    parser.add_argument("--type", default="kvm", choices=("kvm", "qemu"), help="virtualisation type for templates")
    parser.add_argument("--disk", metavar="PATH", help="image for the template's first disk (.qcow2, else raw)")
    parser.add_argument("--owner", default="", help="whom the guest is for; goes into the metadata")


def run(args: argparse.Namespace) -> int:
    """Exit 0 with XML on stdout, 2 for bad input, 3 when the document says that the guest does not fit."""
    answer = decode_answer(read_input(args.placement), source=args.placement)
    if isinstance(answer, Misfit):
        reasons = "; ".join(reason.message for reason in answer.misfits)
        where = f" on {answer.host}" if answer.host else ""
        print(f"cellwright: {answer.name or 'the guest'} does not fit{where}: {reasons}", file=sys.stderr)
        return DOES_NOT_FIT
    from agent.domain.render import graft_domain, render_domain

    facts = {"owner": args.owner, "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if args.domain is not None:
        text = graft_domain(answer, read_input(args.domain), source=args.domain, **facts)
    else:
        text = render_domain(answer, template=args.template, virt_type=args.type, disk=args.disk, **facts)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return 0
