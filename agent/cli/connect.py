"""Options and openings that every verb has which changes a host: libvirt's URI, the journal, the interrupted past."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.compute.driver import Driver
    from agent.compute.journal import Journal

SYSTEM = "qemu:///system"


def add_connect_options(parser: ArgumentParser) -> None:
    """Add ``--connect`` and ``--state-dir``."""
    parser.add_argument("--connect", metavar="URI", default=SYSTEM, help="libvirt (default: %(default)s)")
    parser.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="where the undo journal lives (default: /var/lib/cellwright)"
    )


def journal_of(args: Namespace) -> Journal:
    """The journal that the options name."""
    from agent.compute.journal import Journal
    from agent.compute.paths import state_dir

    return Journal((args.state_dir or state_dir()) / "journal")


@contextmanager
def changing(args: Namespace) -> Iterator[tuple[Driver, Journal]]:
    """libvirt and the locked journal, after everything that was interrupted earlier has been put back.

    With ``--dry-run`` nothing is locked and nothing put back.
    """
    from agent.compute.change import recover
    from agent.compute.driver import Driver

    journal = journal_of(args)
    with Driver(args.connect) as libvirt:
        if getattr(args, "dry_run", False):
            yield libvirt, journal
            return
        with journal.lock():
            recover(libvirt, journal, say=say)
            yield libvirt, journal


def say(message: str) -> None:
    """One line for people, on stderr."""
    print(f"cellwright: {message}", file=sys.stderr)
