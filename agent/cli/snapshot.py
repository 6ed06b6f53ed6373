"""Pack exactly the kernel files that a topology report reads, so that this host can be read on another machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("file", metavar="FILE", help="what to write: NAME.tar.zst or NAME.tar.gz")
    parser.add_argument("--sysroot", metavar="DIR", default="/", help="a saved /proc and /sys instead of this host's")
    parser.add_argument("--full", action="store_true", help="keep serial numbers, MAC addresses and UUIDs")


def run(args: Namespace) -> int:
    """Read the host as ``topology`` does, write what was read, and say how much that is."""
    from pathlib import Path

    from agent.inspection.document import read_document
    from agent.inspection.files import Root
    from agent.inspection.snapshot import Recorder, write_snapshot

    recorder = Recorder(Root(args.sysroot))
    read_document(recorder)
    count = write_snapshot(recorder, args.file, full=args.full)
    print(f"{args.file}: {count} files, {Path(args.file).stat().st_size >> 10} KiB")
    return 0
