"""Re-pin a running guest to other cells of this host, and move its memory after it.

--to names a host cell for each guest cell, in order.  vCPUs move at once; memory moves in pieces of 16 MiB, throttled
by --rate, with progress on stderr; huge pages move into free pages of the new cell's pool.  Guest cells cannot change
places while they run, because the kernel keeps the order of memory policies.  The domain's configuration changes too,
so that the next start is there as well.
Exit codes: 0 done, 1 it failed and was put back, 2 bad input, 3 the cells have no room, 5 libvirt is not reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.answer import add_answer_format, print_answer
from agent.cli.connect import add_connect_options, changing, say

if TYPE_CHECKING:
    from agent.compute.move_pages import Moved
    from agent.core.placement import Placement


def configure(parser: ArgumentParser) -> None:
    """Which guest, where to, and how fast."""
    from agent.cli.hosts import add_settings_options

    parser.add_argument("domain", metavar="DOMAIN", help="name of a running guest of ours, or one that was adopted")
    parser.add_argument("--to", required=True, metavar="CELL[,CELL…]", help="host cell for each guest cell, in order")
    parser.add_argument("--rate", type=int, default=1024, metavar="MIB", help="MiB a second at most (default: 1024)")
    parser.add_argument("--dry-run", action="store_true", help="print what would change and change nothing")
    add_answer_format(parser)
    add_settings_options(parser)
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Move the guest, or with --dry-run print the difference."""
    from agent.cli.difference import render_difference
    from agent.cli.hosts import load_host
    from agent.compute.migrate_cells import apply_migration, check_order
    from agent.compute.pin import plan_pin, scope
    from agent.compute.relocate import relocate
    from agent.compute.usage import read_claimants
    from agent.core.errors import BadInput
    from agent.domain.parse import parse_intent

    rate = check_rate(args.rate)
    targets = parse_targets(args.to)
    with changing(args) as (libvirt, journal):
        domain = libvirt.domain(args.domain)
        scope(domain, live=True, config=False)
        intent = parse_intent(libvirt.xml(args.domain), source=f"domain {args.domain}")
        if intent is None:
            raise BadInput(f"domain {args.domain} is foreign: adopt it first, so that its cells are known")
        host = load_host(args)
        if intent.placement.host == host.hostname and targets == [cell.host_cell for cell in intent.placement.cells]:
            say(f"{args.domain} is there already: nothing changes; what drifted is put back by repair")
            return 0 if args.dry_run else print_answer(intent.placement, args.format, verb="is placed on")
        answer = relocate(
            intent.placement, targets, host, claimants=read_claimants(libvirt, host, without=[args.domain])
        )
        if not answer.fits:
            return print_answer(answer, args.format)
        check_order(intent.placement, answer)
        created_at = intent.created_at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        plan = plan_pin(
            libvirt,
            args.domain,
            answer,
            live=True,
            config=domain.persistent,
            owner=intent.owner,
            created_at=created_at,
        )
        if args.dry_run:
            sys.stdout.write(render_difference(args.domain, plan.before.config, plan.config, plan.changes()))
            sys.stdout.write(render_moves(intent.placement, answer, rate))
            return 0
        apply_migration(libvirt, journal, plan, intent.placement, mib_per_s=rate, progress=show)
    print_answer(answer, args.format, verb="is placed on")
    if answer.cache_shares or answer.bandwidth_shares:
        say("its parts of caches and bandwidth move when it is started again: libvirt sets them at the start alone")
    return 0


def render_moves(old: Placement, new: Placement, mib_per_s: int) -> str:
    """Whose memory would move where."""
    from agent.core.units import format_kib

    return "".join(
        f"  guest cell {was.guest_cell}: its memory, {format_kib(was.memory_kib)} at most, would move from cell"
        f" {was.host_cell} to {then.host_cell}, {mib_per_s} MiB a second at most\n"
        for was, then in zip(old.cells, new.cells, strict=True)
        if was.host_cell != then.host_cell
    )


def check_rate(mib_per_s: int) -> int:
    """The rate itself, when something moves at it."""
    from agent.core.errors import BadInput

    if mib_per_s < 1:
        raise BadInput(f"--rate {mib_per_s}: allowed: 1 and more MiB a second")
    return mib_per_s


def parse_targets(text: str) -> list[int]:
    """``1,0``: the host cell of guest cell 0, then of guest cell 1."""
    from agent.core.errors import BadInput

    words = text.split(",")
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 5):
            raise BadInput(f"--to {text}: {word!r} is no cell; allowed: cell numbers, such as 1 or 1,0")
    return [int(word) for word in words]


def show(moved: Moved) -> None:
    """Progress in one line of stderr that is written over on a terminal."""
    ended = moved.done_kib == moved.all_kib
    if sys.stderr.isatty() or ended:
        stuck = f", {moved.stuck_kib // 1024} MiB would not move" if moved.stuck_kib else ""
        line = f"cellwright: {moved.done_kib // 1024} of {moved.all_kib // 1024} MiB{stuck}"
        sys.stderr.write(("\r" if sys.stderr.isatty() else "") + line + ("\n" if ended else ""))
        sys.stderr.flush()
