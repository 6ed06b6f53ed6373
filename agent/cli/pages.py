"""On which cells the memory of processes is, in pages of which size: what numastat -p tells, and guests by their names.

--keys adds what the well-known summaries of numa_maps have: anon, dirty, mapped and others, of all pages.  json has it
always.  The kernel walks the page tables for it, some 10 ms for every GiB of 4 KiB pages; the process runs on.

Exit code 1: a process may not be looked at, or a guest does not run.  2: there is no such process or guest.  5: libvirt
is not reachable.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator

    from agent.inspection.numa_sums import Read
    from agent.inspection.process_pages import ProcessPages


LONGEST = 20
"""Digits; the kernel's process numbers have seven."""


def configure(parser: ArgumentParser) -> None:
    """Whose memory, and what of it."""
    parser.add_argument("who", nargs="+", metavar="PID|GUEST", help="processes by number, running guests by name")
    parser.add_argument("--keys", action="store_true", help="what the pages are, too")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    parser.add_argument("--connect", metavar="URI", default="qemu:///system", help="libvirt (default: %(default)s)")


def run(args: Namespace) -> int:
    """Print it, process by process."""
    from agent.inspection.numa_maps import read_numbers

    pids = dict.fromkeys(_find(args.who, args.connect))
    sys.stdout.write(tell(pids, keys=args.keys, json=args.format == "json", read=read_numbers))
    return 0


def tell(pids: Iterable[int], *, keys: bool, json: bool = False, read: Read | None = None) -> str:
    """The pages of processes, as text; nothing is imported that it does not need.  ``read``: see sum_areas."""
    from agent.inspection.numa_sums import KEYS
    from agent.inspection.process_pages import read_process_pages

    processes = [read_process_pages(pid, keys=KEYS if keys or json else (), read=read) for pid in pids]
    if json:
        from agent.core.plainjson import dump

        return dump(list(map(_document, processes))) + "\n"
    from agent.picture.pages import render_pages

    return "\n".join(map(render_pages, processes))


def _document(process: ProcessPages) -> dict[str, object]:
    """The sums in the words of a verdict's ``memory``."""
    cells = [
        {"host_cell": cell, "page_kib": size, "pages": pages} for (cell, size), pages in sorted(process.pages.items())
    ]
    kib = {f"{key}_kib": kib for key, kib in process.kib.items()}
    return {"pid": process.pid, "name": process.name, "cells": cells, **kib, "mapmax": process.mapmax}


def _find(who: Iterable[str], uri: str) -> Iterator[int]:
    """The processes; libvirt is asked when a guest is named."""
    names = [word for word in who if not is_number(word)]
    of_guests = {}
    if names:
        from agent.compute.driver import Driver
        from agent.compute.prove import NotRunning

        with Driver(uri) as libvirt:
            for name in names:
                found = libvirt.domain(name)
                if found.pid is None:
                    raise NotRunning(f"domain {name} has no process here ({found.state})")
                of_guests[name] = found.pid
    for word in who:
        yield of_guests[word] if word in of_guests else int(word)


def is_number(word: str) -> bool:
    """Whether a word is a process's number; a guest of such a name has to be given by its process."""
    return word.isascii() and word.isdigit() and len(word) < LONGEST
