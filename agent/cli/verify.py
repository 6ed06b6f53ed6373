"""Compare running guests with their placement: every thread's pCPUs, every page's cell, and who else is there.

Without a name, all running guests are verified.  A guest that Cellwright placed is compared with its placement; any
other with the pins in its own XML, and the answer says so.  What cannot be read is shown as "not checked", never as
good.

Reading the pages (numa_maps) makes the kernel walk the page tables of QEMU: some 10 ms for every GiB of 4 KiB pages,
well under 1 ms with huge pages, transparent ones included.  The guest runs on; QEMU's own mmap calls wait meanwhile.
--quick reads masks alone, some 0.3 ms a thread.

Exit code 0: everything was read and nothing differs.  4: something differs, or could not be checked.  1: a named domain
is not running.  2: there is no such domain.  5: libvirt is not reachable.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from agent.core.errors import FINDINGS, BadInput


def configure(parser: ArgumentParser) -> None:
    """Which guests, how deep, and in what form."""
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="names of running domains")
    parser.add_argument("--all", action="store_true", help="all running domains (as without a name)")
    parser.add_argument("--connect", metavar="URI", default="qemu:///system", help="libvirt (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="masks, cgroups and scheduling only; no page tables")
    parser.add_argument("--format", choices=("table", "json", "evidence"), default="table", help="default: table")


def run(args: Namespace) -> int:
    """Print the verdict; 0 when it is proven, else 4."""
    if args.all and args.domains:
        raise BadInput(f"--all and {' '.join(args.domains)}: give names, or --all, not both")
    from agent.compute.driver import Driver
    from agent.compute.prove import verify_host

    with Driver(args.connect) as libvirt:
        verdict = verify_host(libvirt, names=args.domains or None, quick=args.quick)
        versions = libvirt.versions() if args.format == "evidence" else ()
    if args.format == "json":
        from agent.core.codec import encode

        sys.stdout.write(encode(verdict).decode() + "\n")
    elif args.format == "evidence":
        from agent import __version__
        from agent.picture.verdict import render_evidence

        sys.stdout.write(render_evidence(verdict, versions=(("cellwright", __version__), *versions)))
    else:
        from agent.picture.verdict import render_verdict

        sys.stdout.write(render_verdict(verdict))
    return 0 if verdict.proven else FINDINGS
