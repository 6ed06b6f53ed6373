"""Place an existing domain, of ours or not, and pin it there: the running guest, its configuration, or both.

Without --request and --placement the domain stays as it is, and each of its vCPUs gets a pCPU of its own.  Without
--live and --config it is what is current: the running guest, or the configuration of one that does not run.

What other running guests hold counts as used.  When any step fails everything is put back; `cellwright unpin` takes
the pins away again.  Exit codes: 0 done, 1 it failed and was put back, 2 bad input, 3 it does not fit, 5 libvirt is not
reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from agent.cli.answer import add_answer_format, print_answer
from agent.cli.connect import add_connect_options, changing, say
from agent.cli.live import add_wanted_options, decide


def configure(parser: ArgumentParser) -> None:
    """Which domain, onto what, and how far."""
    parser.add_argument("domain", metavar="DOMAIN", help="name of an existing domain")
    add_wanted_options(parser, settings="--settings", required=False)
    parser.add_argument("--live", action="store_true", help="the running guest")
    parser.add_argument("--config", dest="to_config", action="store_true", help="what its next start uses")
    parser.add_argument("--current", action="store_true", help="the running guest if it runs, else its configuration")
    parser.add_argument("--owner", default="", help="whom the guest is for; goes into the metadata")
    parser.add_argument("--dry-run", action="store_true", help="print what would change and change nothing")
    add_answer_format(parser)
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Pin the domain, or with --dry-run print the difference."""
    from agent.cli.difference import render_difference
    from agent.compute.pin import apply_pin, plan_pin, scope
    from agent.core.errors import BadInput

    if args.current and (args.live or args.to_config):
        raise BadInput("--current excludes --live and --config")
    with changing(args) as (libvirt, journal):
        live, config = scope(libvirt.domain(args.domain), live=args.live, config=args.to_config)
        answer = decide(args, libvirt, name=args.domain, without=[args.domain])
        if not answer.fits:
            return print_answer(answer, args.format)
        created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        plan = plan_pin(libvirt, args.domain, answer, live=live, config=config, owner=args.owner, created_at=created_at)
        if args.dry_run:
            sys.stdout.write(render_difference(args.domain, plan.before.config, plan.config, plan.changes()))
            return 0
        verdict = apply_pin(libvirt, journal, plan)
    print_answer(answer, args.format, verb="is placed on")
    if verdict is not None:
        say(f"{args.domain}: {len(verdict.threads)} threads are where they should be")
    if live and answer.cells:
        say(f"memory that the guest has already stays where it is; cellwright repair {args.domain} --pages moves it")
    return 0
