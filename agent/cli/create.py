"""Place a new guest on this host, define it in libvirt, start it, and check its threads before it runs.

What running guests hold counts as used.  When any step fails, nothing is left behind; `cellwright undo` takes the
guest away again.  --dry-run prints the new domain XML as a diff; `cellwright render` prints a placement's XML as it is.
Exit codes: 0 it runs where it was placed, 1 it could not be started, 2 bad input or libvirt refuses the XML, 3 it does
not fit, 5 libvirt is not reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.answer import add_answer_format, print_answer
from agent.cli.connect import add_connect_options, changing, say
from agent.cli.live import add_wanted_options, decide

if TYPE_CHECKING:
    from agent.compute.driver import Driver
    from agent.core.placement import Placement


def configure(parser: ArgumentParser) -> None:
    """What is wanted, from what skeleton, and where."""
    add_wanted_options(parser)
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--template", default="plain", metavar="NAME", help="plain (default), realtime, dpdk or tiny")
    base.add_argument("--domain", metavar="FILE.xml", help="graft into this domain, changing nothing else")
    parser.add_argument("--name", help="the guest's name (default: that of the request; not with --domain)")
    parser.add_argument("--type", default="auto", choices=("auto", "kvm", "qemu"), help="for templates; default: auto")
    parser.add_argument("--disk", metavar="PATH", help="image for the template's first disk (.qcow2, else raw)")
    parser.add_argument("--owner", default="", help="whom the guest is for; goes into the metadata")
    parser.add_argument("--dry-run", action="store_true", help="print the new domain XML as a diff and change nothing")
    add_answer_format(parser)
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Create the guest, or with --dry-run print what would be new."""
    from agent.cli.difference import render_difference
    from agent.compute.create import apply_create, check_new, plan_guest
    from agent.core.errors import BadInput
    from agent.domain.names import check_name

    if args.name is not None:
        check_name(args.name)
        if args.domain is not None:
            raise BadInput(f"--name {args.name} and --domain {args.domain}: the <name> of a domain of your own counts")
    with changing(args) as (libvirt, journal):
        answer = decide(args, libvirt, name=args.name)
        if not answer.fits:
            return print_answer(answer, args.format)
        guest = plan_guest(answer, render(args, libvirt, answer))
        check_new(libvirt, guest.name)
        if args.dry_run:
            sys.stdout.write(render_difference(guest.name, None, guest.xml, ()))
            return 0
        verdict = apply_create(libvirt, journal, guest)
    print_answer(guest.placement, args.format, verb="runs on")
    if verdict is not None:
        say(f"{guest.name} runs as process {verdict.pid}; {len(verdict.threads)} threads are where they should be")
    return 0


def render(args: Namespace, libvirt: Driver, placement: Placement) -> str:
    """The domain XML: from a template for KVM or TCG, or the user's own."""
    from agent.domain.render import graft_domain, render_domain

    created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if args.domain is not None:
        from agent.cli.hosts import read_input

        xml = read_input(args.domain)
        return graft_domain(placement, xml, owner=args.owner, created_at=created_at, source=args.domain)
    return render_domain(
        placement,
        template=args.template,
        virt_type=virt_type(args.type, libvirt),
        disk=args.disk,
        owner=args.owner,
        created_at=created_at,
    )


def virt_type(wanted: str, libvirt: Driver) -> str:
    """``kvm`` or ``qemu``; why not KVM is said on stderr."""
    from agent.compute.paths import run_dir
    from agent.compute.virt_type import VirtType, choose_virt_type
    from agent.inspection.boot import read_boot_id
    from agent.inspection.files import Root

    trial = choose_virt_type(libvirt, VirtType(wanted), boot_id=read_boot_id(Root()), folder=run_dir())
    if trial.why:
        say(f"using TCG, which is slow: {trial.why}")
    return str(trial.type)
