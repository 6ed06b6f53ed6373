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

from agent.core.errors import FINDINGS

TYPE_CHECKING = False
if TYPE_CHECKING:  # argparse is imported only where there are options that need it
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Which guests, how deep, and in what form."""
    from argparse import RawDescriptionHelpFormatter

    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="names of running domains")
    parser.add_argument("--all", action="store_true", help="all running domains (as without a name)")
    parser.add_argument("--connect", metavar="URI", default="qemu:///system", help="libvirt (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="masks, cgroups and scheduling only; no page tables")
    parser.add_argument("--format", choices=("table", "json", "evidence"), default="table", help="default: table")


def run(args: Namespace) -> int:
    """Print the verdict; 0 when it is proven, else 4."""
    if args.all and args.domains:
        from agent.core.errors import BadInput

        raise BadInput(f"--all and {' '.join(args.domains)}: give names, or --all, not both")
    return verify(args.domains, uri=args.connect, quick=args.quick, form=args.format)


def run_quick(argv: list[str]) -> int | None:
    """Names, --all, --quick and --format json without argparse; None for every other use."""
    words = " ".join(argv).replace("--format json", "--format=json").split()
    names = [word for word in words if not word.startswith("-")]
    options = {word for word in words if word.startswith("-")}
    if options - {"--all", "--quick", "--format=json"} or (names and "--all" in options) or any(" " in w for w in argv):
        return None
    form = "json" if "--format=json" in options else "table"
    return verify(names, uri="qemu:///system", quick="--quick" in options, form=form)


def verify(names: list[str], *, uri: str, quick: bool, form: str) -> int:
    """The verdict on stdout; 0 when it is proven, else 4."""
    from agent.compute.driver import Driver
    from agent.compute.prove import verify_host

    with Driver(uri) as libvirt:
        verdict = verify_host(libvirt, names=names or None, quick=quick)
        versions = libvirt.versions() if form == "evidence" else ()
    if form == "json":
        from agent.core.codec import encode

        sys.stdout.write(encode(verdict).decode() + "\n")
    elif form == "evidence":
        from agent import __version__
        from agent.picture.verdict import render_evidence

        sys.stdout.write(render_evidence(verdict, versions=(("cellwright", __version__), *versions)))
    else:
        from agent.picture.verdict import render_verdict

        sys.stdout.write(render_verdict(verdict))
    return 0 if verdict.proven else FINDINGS
