"""Put back the masks of running guests that drifted from their placement, and name the cause where it can be known.

Without a name, every running guest is looked at.  Foreign guests are never touched.  What no mask can repair, or must
not (a pCPU that is offline), is left alone, and the reason is said.  Exit codes: 0 nothing had drifted or everything is
repaired, 4 something is left (with --dry-run: had drifted), 1 a named guest is not running, 2 there is none of that
name, 5 libvirt is not reachable.

With --irqs it moves interrupts off the pCPUs that guests own instead, until `cellwright undo` or the next boot; 4 then
says that some interrupt cannot be moved.  The agent does the same all the time with [agent] irq_steering = true.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from agent.cli.connect import add_connect_options, changing
from agent.cli.hosts import add_settings_options
from agent.core.errors import FINDINGS


def configure(parser: ArgumentParser) -> None:
    """Which guests."""
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="names of running guests (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be repaired and change nothing")
    parser.add_argument("--irqs", action="store_true", help="move interrupts off the guests' own pCPUs instead")
    add_connect_options(parser)
    add_settings_options(parser)


def run(args: Namespace) -> int:
    """Repair, and print a line a finding."""
    if args.irqs:
        from agent.cli.irqs import run_irqs

        return run_irqs(args)
    from agent.compute.repair import Result, apply_repair

    with changing(args) as (libvirt, journal):
        done = apply_repair(libvirt, journal, names=args.domains or None, dry_run=args.dry_run)
    for one in done:
        result = "would be repaired" if args.dry_run and one.result is Result.REPAIRED else str(one.result)
        print(f"{one.guest}: {one.finding}: {result}" + (f": {one.why}" if one.why else ""))
        if one.cause:
            print(f"  cause: {one.cause}")
    if not done:
        print("nothing had drifted")
    left = [one for one in done if args.dry_run or one.result is not Result.REPAIRED]
    return FINDINGS if left else 0
