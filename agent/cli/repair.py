"""Put back what drifted from the placement of running guests, and name the cause where it can be known.

That is the pCPUs and the scheduling class of every thread, and the cpusets of the guest's own cgroups.  With --pages it
is its memory too: pages that are on other cells move home in pieces, throttled by --rate, and memory policies follow
where the kernel can make them.  Reading pages walks the page tables of QEMU (see cellwright-verify(1)).

Without a name, every running guest is looked at.  Foreign guests are never touched.  What cannot be repaired, or must
not (a pCPU that is offline, a slice that holds other guests), is left alone, and the reason is said.  `cellwright undo`
takes a repair back, but for pages that were on a cell which the guest may not use: the kernel takes none there.
Exit codes: 0 nothing had drifted or everything is repaired, 4 something is left (with --dry-run: had drifted), 1 a
named guest is not running, 2 there is none of that name, 5 libvirt is not reachable.

With --irqs it moves interrupts off the pCPUs that guests own instead, until `cellwright undo` or the next boot; 4 then
says that some interrupt cannot be moved.  The agent does the same all the time with [agent] irq_steering = true.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from typing import TYPE_CHECKING

from agent.cli.connect import add_connect_options, changing
from agent.cli.hosts import add_settings_options
from agent.core.errors import FINDINGS, BadInput

if TYPE_CHECKING:
    from agent.compute.repair import Repair


def configure(parser: ArgumentParser) -> None:
    """Which guests."""
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="names of running guests (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be repaired and change nothing")
    parser.add_argument("--pages", action="store_true", help="memory too: pages that are on other cells than placed")
    parser.add_argument("--rate", type=int, default=1024, metavar="MIB", help="MiB a second at most (default: 1024)")
    parser.add_argument("--irqs", action="store_true", help="move interrupts off the guests' own pCPUs instead")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: a list (default: table)")
    add_connect_options(parser)
    add_settings_options(parser)


def run(args: Namespace) -> int:
    """Repair, and print a line a finding."""
    if args.irqs:
        if args.format == "json":
            raise BadInput("--format json goes with the repair of guests; allowed with --irqs: --format table")
        from agent.cli.irqs import run_irqs

        return run_irqs(args)
    from agent.cli.migrate_cells import check_rate, show
    from agent.compute.repair import PageWish, Result, apply_repair
    from agent.core.codec import encode

    pages = PageWish(check_rate(args.rate), show) if args.pages else None
    with changing(args) as (libvirt, journal):
        done = apply_repair(libvirt, journal, names=args.domains or None, pages=pages, dry_run=args.dry_run)
    print(encode(done).decode() if args.format == "json" else render_repairs(done))
    return FINDINGS if any(one.result is not Result.REPAIRED for one in done) else 0


def render_repairs(done: Collection[Repair]) -> str:
    """A line a finding, and one for its cause."""
    lines = []
    for one in done:
        lines.append(f"{one.guest}: {one.finding}: {one.result}" + (f": {one.why}" if one.why else ""))
        lines += [f"  cause: {one.cause}"] if one.cause else []
    return "\n".join(lines) or "nothing had drifted"
