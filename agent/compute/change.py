"""One change of one domain: written down before, put back when it fails, undone on request.

    with journal.lock():
        recover(libvirt, journal)
        with change(libvirt, journal, verb="pin", name="db-1"):
            libvirt.define(…)

Whatever kills this process in the middle leaves an entry that is ``begun``; the next verb that changes anything puts
that guest back first.  So after every interruption a guest is as before or as after, and the journal says which.  A new
guest that was let run is as after: that was its last step, and nobody stops a guest that may have run for days.  So is
one that was stopped to be taken away: it cannot run on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from agent.compute.domains import State
from agent.compute.driver import Driver
from agent.compute.guest_state import ABSENT, GuestState, read_state, restore_state
from agent.compute.host_values import put_back_values
from agent.compute.journal import Entry, Journal, Outcome
from agent.compute.memory import restore_memory, settle_memory
from agent.compute.move_pages import MemoryState
from agent.core.errors import BadInput, CellwrightError
from agent.inspection.files import Root

CREATE = "create"
REMOVE = "remove"
MIGRATE = "migrate-cells"
IRQ_STEERING, CPU_POWER = UPKEEP_VERBS = ("irq-steering", "cpu-power")
"""What the agent keeps up of the host itself, each an entry that lives as long as there is something to take back."""

PIN_VERBS = ("pin", "repair", MIGRATE, "adopt")
"""Verbs that change where an existing guest runs, and that ``unpin`` takes back."""


@contextmanager
def change(
    libvirt: Driver,
    journal: Journal,
    *,
    verb: str,
    name: str,
    uuid: str | None = None,
    detail: str = "",
    undoes: tuple[Entry, ...] = (),
    memory: MemoryState | None = None,
    moves_pages: bool = False,
    planned: GuestState | None = None,
) -> Iterator[GuestState]:
    """Run the body as one change, under the journal's lock; yields the state before.

    When the body raises, or the user interrupts it, the domain is put back and the error goes on.  ``uuid`` is given
    for a domain that does not exist yet.  What ``undoes`` names is undone then; what those had undone stands again.
    ``moves_pages`` when the body moves the guest's memory: all of it, or where ``memory`` is given the pages in that.
    ``planned`` is what the body was planned on: BadInput, and nothing is changed, when somebody else has changed the
    domain since.  libvirt has no lock for it, so a change in the moment between this look and the body is lost still.
    """
    before = msgspec.structs.replace(read_state(libvirt, name), memory=memory)
    if planned is not None:
        _check_planned(name, planned, now=before)
    entry = journal.begin(
        verb=verb,
        uri=libvirt.uri,
        domain=name,
        before=before,
        uuid=before.uuid or uuid,
        detail=detail,
        undoes=tuple(one.id for one in undoes),
        moves_pages=moves_pages,
    )
    try:
        yield before
    except BaseException:
        put_back(libvirt, entry)
        journal.end(entry, Outcome.PUT_BACK, after=None)
        raise
    after = read_state(libvirt, name)
    _mark_undone(journal, entry, undone=True)
    journal.end(entry, Outcome.DONE, after=after)


def recover(libvirt: Driver, journal: Journal, *, say: Callable[[str], None]) -> None:
    """Put back every guest of this connection whose change was interrupted; ``say`` gets one line for each.

    One for each entry that cannot be read, too: whatever it was, it stops nobody who does not need it.

    Call it with the lock held: then nobody else is still at work on such an entry.
    """
    entries, damaged = journal.scan()
    for wrong in damaged.values():
        say(f"{wrong}; it is left out, and its change cannot be undone")
    for entry in entries:
        if entry.outcome is not Outcome.BEGUN or entry.uri != libvirt.uri:
            continue
        if entry.values:
            _recover_values(journal, entry, say=say)
            continue
        found = read_state(libvirt, entry.domain)
        what = f"{entry.verb} of {entry.domain} (journal entry {entry.id}, {entry.begun_at}) was interrupted"
        if found.uuid not in (None, entry.uuid):
            say(f"{what}, and {entry.domain} is now another domain: left alone")
            journal.end(entry, Outcome.LEFT_ALONE, after=found)
            continue
        ended = found.uuid is None or (entry.before.running and not found.running)
        if ended and _takes_away(journal, entry):
            say(f"{what} when {entry.domain} had been stopped: it is taken away")
            restore_state(libvirt, entry.domain, ABSENT, uuid=entry.uuid)
            _mark_undone(journal, entry, undone=True)
            journal.end(entry, Outcome.DONE, after=ABSENT)
            continue
        if found.uuid is None and entry.before.uuid is not None:
            say(f"{what}, and {entry.domain} is gone: left alone")
            journal.end(entry, Outcome.LEFT_ALONE, after=found)
            continue
        if entry.verb == CREATE and found.running and libvirt.domain(entry.domain).state is not State.PAUSED:
            say(f"{what} after its last step: {entry.domain} runs on")
            journal.end(entry, Outcome.DONE, after=found)
            continue
        try:
            put_back(libvirt, entry)
        except CellwrightError as why:
            say(f"{what}, and could not be put back, which the next verb tries again: {why}")
        else:
            say(f"{what}: {entry.domain} is again as it was before")
            _mark_undone(journal, entry, undone=False)
            journal.end(entry, Outcome.PUT_BACK, after=found)


def undo(libvirt: Driver, journal: Journal, entries: tuple[Entry, ...], *, verb: str, force: bool = False) -> str:
    """Take back changes of one domain: make it what it was before the oldest of ``entries``, newest last.

    A change of the host is taken back alone.  Answers what cannot go back, for people; mostly nothing.

    Refused when the domain is not what the newest left, unless forced: then somebody else's changes are lost too.  When
    the guest is gone for good its changes are left alone from then on, and it is said once.
    """
    oldest, newest = entries[0], entries[-1]
    if newest.values:
        put_back_values(Root(), newest, force=force)
        journal.mark((newest,), Outcome.UNDONE)
        return ""
    try:
        check_there(libvirt, oldest)
    except BadInput:
        journal.mark(entries, Outcome.LEFT_ALONE)
        raise
    planned = None if force else check_untouched(libvirt, newest)
    detail = "back to before " + ", ".join(f"{entry.verb} {entry.id}" for entry in entries)
    moved = any(entry.moves_pages for entry in entries[1:])
    with change(
        libvirt,
        journal,
        verb=verb,
        name=oldest.domain,
        uuid=oldest.uuid,
        detail=detail,
        undoes=entries,
        moves_pages=moved or oldest.moves_pages,
        planned=planned,
    ):
        return put_back(libvirt, oldest, moved=moved)


def _takes_away(journal: Journal, entry: Entry) -> bool:
    """Whether the change removes its guest: as the agent was told, or as the undo of a create."""
    kept = {one.id: one for one in journal.entries()}
    return entry.verb == REMOVE or any(number in kept and kept[number].verb == CREATE for number in entry.undoes)


def _mark_undone(journal: Journal, entry: Entry, *, undone: bool) -> None:
    """What an undo took back is undone, and what that had undone stands again; or all is marked as before the undo."""
    if not entry.undoes:
        return
    kept = {one.id: one for one in journal.entries()}
    taken = [kept[number] for number in entry.undoes if number in kept]
    again = [kept[number] for one in taken for number in one.undoes if number in kept]
    journal.mark(taken, Outcome.UNDONE if undone else Outcome.DONE)
    journal.mark(again, Outcome.DONE if undone else Outcome.UNDONE)


def _recover_values(journal: Journal, entry: Entry, *, say: Callable[[str], None]) -> None:
    what = f"{entry.verb} (journal entry {entry.id}, {entry.begun_at}) was interrupted"
    try:
        put_back_values(Root(), entry, force=True)
    except CellwrightError as why:
        say(f"{what}, and could not be put back, which the next verb tries again: {why}")
    else:
        say(f"{what}: {len(entry.values)} kernel files are again as they were before")
        journal.end(entry, Outcome.PUT_BACK, after=None)


def put_back(libvirt: Driver, entry: Entry, *, moved: bool = False) -> str:
    """Make the domain what it was before an entry; its memory too when that or a later one (``moved``) moved it.

    Answers what cannot go back, for people: of the memory, or the masks of a guest that has been stopped since.
    """
    restore_state(libvirt, entry.domain, entry.before, uuid=entry.uuid)
    found = libvirt.find(entry.domain)
    if not entry.before.running or found is None:
        return ""
    if not found.active:
        return "it does not run any more: the masks that its threads had then are gone with them"
    if moved or (entry.moves_pages and entry.before.memory is None):
        settle_memory(libvirt, entry.domain)
    if entry.before.memory is None:
        return ""
    return restore_memory(libvirt, entry.domain, entry.before.memory)


def check_there(libvirt: Driver, entry: Entry) -> None:
    """BadInput when nothing can be put back: the guest is gone without a configuration, or another has its name."""
    found = libvirt.find(entry.domain)
    if found is not None and found.uuid != entry.uuid:
        why = f"is another one now, with UUID {found.uuid} instead of {entry.uuid}"
    elif found is None and entry.before.uuid is not None and entry.before.config is None:
        why = "is gone, and had no configuration to come back from"
    else:
        return
    raise BadInput(f"domain {entry.domain} {why}: {entry.verb} {entry.id} is left alone")


def _check_planned(name: str, planned: GuestState, *, now: GuestState) -> None:
    """BadInput when the domain is another, or has another configuration or masks, than when the change was planned."""
    differs = []
    if now.uuid != planned.uuid:
        differs.append("it is gone" if now.uuid is None else "it is another one")
    elif now.config != planned.config:
        differs.append("its configuration")
    if now.running and planned.running and now.masks != planned.masks:
        differs.append("its masks")
    if differs:
        raise BadInput(
            f"domain {name} was changed by somebody else just now: {' and '.join(differs)}; nothing was changed, run it"
            " again"
        )


def check_untouched(libvirt: Driver, entry: Entry) -> GuestState:
    """The domain as it is; BadInput when somebody changed it since the entry's change was done."""
    now = read_state(libvirt, entry.domain)
    after = entry.after or entry.before
    differs = []
    if now.uuid is None and entry.before.uuid is not None and after.uuid is not None:
        differs.append("it is gone")
    elif now.uuid is not None and now.config != after.config:
        differs.append("its configuration")
    if now.running and after.running and now.masks != after.masks:
        differs.append("its masks")
    if differs:
        raise BadInput(
            f"domain {entry.domain} was changed since {entry.verb} {entry.id}: {' and '.join(differs)};"
            " --force puts it back all the same, and those changes are lost"
        )
    return now


def undoable(journal: Journal, uri: str, *, name: str | None = None, verbs: tuple[str, ...] = ()) -> tuple[Entry, ...]:
    """Entries that are done and not taken back, oldest first, of one connection and, where named, one domain."""
    return tuple(
        entry
        for entry in journal.entries()
        if entry.outcome is Outcome.DONE
        and entry.uri == uri
        and entry.verb != "undo"
        and (name is None or entry.domain == name)
        and (not verbs or entry.verb in verbs)
    )
