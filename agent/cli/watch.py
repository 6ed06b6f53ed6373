"""Print drift of running guests as it appears, one line each, with the cause where it can be known.

Masks, cgroups and scheduling are read every --interval seconds, and at once when libvirt tells that a guest started,
stopped or paused, or the kernel that a pCPU came or went; --full reads pages, neighbours and interrupts too
("cellwright verify --help" says what that costs).  A libvirtd that is restarted meanwhile is waited for.  Ctrl-C ends
it.

Exit code 0: nothing drifted and everything was read.  4: something did, or something could not be checked.  2: there is
no such domain; one that does not run is waited for.  5: libvirt is not reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from agent.core.errors import FINDINGS

if TYPE_CHECKING:
    from agent.core.verdict import Drift

DRIFTED = ("appeared", "unchecked")


def configure(parser: ArgumentParser) -> None:
    """Which guests, how often, and for how long."""
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="names of domains (default: all running ones)")
    parser.add_argument("--connect", metavar="URI", default="qemu:///system", help="libvirt (default: %(default)s)")
    parser.add_argument("--interval", metavar="S", type=_seconds, default=2.0, help="seconds (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="read pages, neighbours and interrupts too")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: one document a line")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--once", action="store_true", help="read once")
    bound.add_argument("--count", metavar="N", type=_count, help="read N times")
    bound.add_argument("--duration", metavar="S", type=_seconds, help="end after S seconds")


def run(args: Namespace) -> int:
    """Print until the bound or Ctrl-C; 4 when anything drifted meanwhile."""
    import time

    from agent.cli.connect import say
    from agent.compute.driver import Driver
    from agent.compute.uevents import PcpuEvents
    from agent.compute.watch import watch_host

    drifted = False
    try:
        with Driver(args.connect) as libvirt:
            for name in args.domains:
                libvirt.domain(name)  # NoSuchDomain says which there are
            pcpus = PcpuEvents()
            if pcpus.why_not:
                say(f"no events of the kernel ({pcpus.why_not}): a pCPU that comes or goes is seen at the next reading")
            for drift in watch_host(
                libvirt,
                names=args.domains or None,
                interval_s=args.interval,
                quick=not args.full,
                turns=1 if args.once else args.count,
                duration_s=args.duration,
                pcpus=pcpus,
                clock=time.monotonic,
                sleep=time.sleep,
            ):
                drifted = drifted or drift.change in DRIFTED
                _print(drift, args.format)
    except KeyboardInterrupt:
        pass  # the way a watch ends
    return FINDINGS if drifted else 0


def _print(drift: Drift, form: str) -> None:
    if form == "json":
        from agent.core.codec import encode

        line = encode(drift).decode()
    else:
        from agent.picture.verdict import render_drift

        line = render_drift(drift)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= 1e6:
        raise ArgumentTypeError(f"{text!r} is no time; allowed: seconds from 0.05 on")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) == int(text)):
        raise ArgumentTypeError(f"{text!r} is no count; allowed: 1, 2, 3 …")
    return int(text)
