"""Pack exactly the kernel files that topology, its numastat view and doctor read, to read this host elsewhere.

Verbs that only look at a host take the file as --snapshot FILE and answer as on this host.  Serial numbers, MAC
addresses, UUIDs and the names of processes are left out unless --full asks for them.

Exit codes: 0 written, 1 not written, 2 bad input.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("file", metavar="FILE", help="what to write: NAME.tar.zst or NAME.tar.gz")
    parser.add_argument("--sysroot", metavar="DIR", default="/", help="a saved /proc and /sys instead of this host's")
    parser.add_argument(
        "--full", action="store_true", help="keep serial numbers, MAC addresses, UUIDs and process names"
    )


def run(args: Namespace) -> int:
    """Read the host as the other verbs do, write what was read, and say how much that is."""
    from pathlib import Path

    from agent.core.cpuset import CpuSet
    from agent.inspection.counters import read_numastat
    from agent.inspection.document import read_document
    from agent.inspection.files import Root
    from agent.inspection.knobs import read_knobs
    from agent.inspection.snapshot import Recorder, write_snapshot

    recorder = Recorder(Root(args.sysroot))
    online = CpuSet.parse(read_document(recorder)["online"])
    read_knobs(recorder, online)
    read_numastat(recorder)
    count = write_snapshot(recorder, args.file, full=args.full)
    print(f"{args.file}: {count} files, {Path(args.file).stat().st_size >> 10} KiB")
    return 0
