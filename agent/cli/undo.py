"""Take back the last change that any verb made, or the one with a given number: the journal knows how it was before.

Undoing a create takes the guest away, running or not.  An undo is refused when somebody else changed the domain since.
Where nothing can be put back, because a guest without a configuration is gone or another has its name, that is said
once, and the next undo goes on with the change before it.  What the agent keeps up on the host (interrupts, sleeping
pCPUs) is taken back by its number alone, and the agent does it again while its settings say so.  An entry that cannot
be read stops nothing but this verb without a number, while it is the newest.
Exit codes: 0 done, 1 it failed and was put back, 2 there is nothing to undo, or the domain was changed since (--force),
5 libvirt is not reachable.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from agent.cli.connect import add_connect_options, changing, journal_of, say

if TYPE_CHECKING:
    from agent.compute.driver import Driver
    from agent.compute.journal import Entry


def configure(parser: ArgumentParser) -> None:
    """Which change, or the list of them."""
    parser.add_argument("id", nargs="?", type=int, metavar="ID", help="number of a change (default: the last)")
    parser.add_argument("--list", action="store_true", help="print the journal, oldest first, and change nothing")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="of --list; default: table")
    parser.add_argument("--force", action="store_true", help="even when somebody else changed the domain since")
    parser.add_argument("--dry-run", action="store_true", help="print what would be put back and change nothing")
    add_connect_options(parser)


def run(args: Namespace) -> int:
    """Undo one entry, or list them all."""
    from agent.compute.change import UPKEEP_VERBS, undo, undoable
    from agent.core.errors import BadInput

    if args.list:
        entries, damaged = journal_of(args).scan()
        for wrong in damaged.values():
            say(wrong)
        rows = list_rows(entries)
        sys.stdout.write(json.dumps(rows) + "\n" if args.format == "json" else render_list(rows))
        return 0
    with changing(args) as (libvirt, journal):
        there = undoable(journal, libvirt.uri)
        if args.id is None:
            there = tuple(entry for entry in there if entry.verb not in UPKEEP_VERBS)
        else:
            wanted = journal.entry(args.id)
            there = tuple(entry for entry in there if entry.id == args.id)
            if not there:
                raise BadInput(f"journal entry {args.id} {why_not(wanted, libvirt.uri)}")
        if not there:
            raise BadInput(f"the journal has no change on {libvirt.uri} that could be undone")
        newer = [wrong for number, wrong in journal.scan()[1].items() if args.id is None and number > there[-1].id]
        if newer:
            raise BadInput(f"{newer[-1]}; it may be the last change, so name the one to undo by its number")
        if args.dry_run:
            print(render_undo(libvirt, there[-1:]))
            return 0
        kept = undo(libvirt, journal, there[-1:], verb="undo", force=args.force)
    but = f", but {kept}" if kept else ""
    print(f"{there[-1].domain or 'the host'} is as before {there[-1].verb} {there[-1].id}{but}")
    return 0


def why_not(entry: Entry, uri: str) -> str:
    """Why an entry cannot be undone."""
    if entry.verb == "undo":
        return f"is an undo: what it took back of {entry.domain} has to be done again"
    if entry.uri != uri:
        return f"is of {entry.uri}: undo it with --connect {entry.uri}"
    return f"({entry.verb} of {entry.domain or 'the host'}) is {entry.outcome}"


def list_rows(entries: tuple[Entry, ...]) -> list[dict[str, int | str | None]]:
    """The journal for people and scripts; the domain of what was changed of the host itself is null."""
    return [
        {
            "id": one.id,
            "begun": one.begun_at,
            "verb": one.verb,
            "domain": one.domain or None,
            "outcome": str(one.outcome),
            "detail": one.detail,
        }
        for one in entries
    ]


def render_list(rows: list[dict[str, int | str | None]]) -> str:
    """The journal as a table."""
    table: list[tuple[str, ...]] = [("id", "begun", "verb", "domain", "outcome", "detail")]
    table += [tuple("(host)" if value is None else str(value) for value in row.values()) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in table
    )


def render_undo(libvirt: Driver, entries: tuple[Entry, ...]) -> str:
    """What undoing these entries of one domain would change."""
    from agent.cli.difference import render_difference
    from agent.compute.change import check_there
    from agent.compute.guest_state import read_state
    from agent.compute.masks import mask_changes
    from agent.compute.memory import describe_memory

    oldest = entries[0]
    if oldest.values:
        return "\n".join(f"/{value.file}: {value.after} -> {value.before}" for value in oldest.values)
    check_there(libvirt, oldest)
    if oldest.before.uuid is None:
        return f"{oldest.domain} would be stopped and undefined"
    now = read_state(libvirt, oldest.domain)
    after = oldest.before.config if oldest.before.config != now.config else None
    running = oldest.before.running and now.running
    masks = mask_changes(now.masks, oldest.before.masks) if running else ()
    memory = []
    if running and oldest.before.memory is not None:
        memory = describe_memory(oldest.before.memory)
    elif running and any(entry.moves_pages for entry in entries):
        memory = ["back to the cells that it was placed on"]
    lines = [f"{oldest.domain} (memory)", *(f"  {line}" for line in memory)] if memory else []
    if after is None and not masks and lines:
        return "\n".join(lines)
    return "\n".join([render_difference(oldest.domain, now.config, after, masks).rstrip("\n"), *lines])
