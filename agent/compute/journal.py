"""The undo journal: what every verb is about to change, written down before, and what it changed, after.

One JSON file an entry, ``000001.json`` upwards, each written to a temporary name, fsynced and renamed, so that a kill
or a power cut leaves the old text or the new one.  An entry begins as ``begun``; one that is still ``begun`` while
nobody holds the lock belongs to a process that died, and ``agent.compute.change.recover`` puts its guest back.  Old
entries that no undo could use are forgotten.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from agent.compute.durable import write_durably
from agent.compute.guest_state import ABSENT, GuestState
from agent.compute.kernel_files import KernelValue
from agent.core.codec import decode, encode
from agent.core.errors import BadInput, CellwrightError

KEPT = 1000
"""Changes whose entries stay whatever became of them."""


class Outcome(StrEnum):
    """How far an entry's change came."""

    BEGUN = "begun"
    DONE = "done"
    PUT_BACK = "put back"
    LEFT_ALONE = "left alone"
    UNDONE = "undone"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change by one verb, of a domain or (``domain`` "") of the host; times are UTC, ``detail`` is for people.

    What was changed of the host is in ``values``; they hold until the next boot, so ``boot_id`` says which it was.
    ``moves_pages``: the guest's memory moved, or may have, and goes back with the rest.
    """

    schema: str = "cellwright.journal/1"
    id: int
    verb: str
    uri: str
    domain: str
    uuid: str | None
    detail: str = ""
    begun_at: str
    ended_at: str | None = None
    outcome: Outcome = Outcome.BEGUN
    undoes: tuple[int, ...] = ()
    before: GuestState
    after: GuestState | None = None
    values: tuple[KernelValue, ...] = ()
    boot_id: str | None = None
    moves_pages: bool = False


class Journal:
    """The entries under one folder.  Writing needs the lock, which one process has at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the journal for one change; waits for another verb that is changing this host."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as why:
            raise CellwrightError(f"journal {self.folder}: {why.strerror}; nothing was changed") from why
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def entries(self) -> tuple[Entry, ...]:
        """Every entry that can be read, oldest first."""
        return self.scan()[0]

    def scan(self) -> tuple[tuple[Entry, ...], dict[int, str]]:
        """Every entry that can be read, oldest first, and by its number of each damaged one what is wrong with it."""
        entries, damaged = [], {}
        for number in self._numbers():
            try:
                entries.append(self._read(self._path(number)))
            except BadInput as why:
                damaged[number] = str(why)
        return tuple(entries), damaged

    def entry(self, number: int) -> Entry:
        """One entry by its id."""
        path = self._path(number)
        if not path.is_file():
            raise BadInput(f"journal {self.folder} has no entry {number}; cellwright undo --list shows what there is")
        return self._read(path)

    def begin(
        self,
        *,
        verb: str,
        uri: str,
        domain: str,
        before: GuestState,
        uuid: str | None,
        detail: str = "",
        undoes: tuple[int, ...] = (),
        moves_pages: bool = False,
    ) -> Entry:
        """Write down what is about to change; it is on disk when this returns."""
        entry = Entry(
            id=self._next(),
            verb=verb,
            uri=uri,
            domain=domain,
            uuid=uuid,
            detail=detail,
            begun_at=_now(),
            undoes=undoes,
            before=before,
            moves_pages=moves_pages,
        )
        self._write(entry)
        return entry

    def begin_values(self, values: tuple[KernelValue, ...], *, verb: str, uri: str, boot_id: str | None) -> Entry:
        """Write down which kernel files are about to be written; it is on disk when this returns."""
        entry = Entry(
            id=self._next(),
            verb=verb,
            uri=uri,
            domain="",
            uuid=None,
            begun_at=_now(),
            before=ABSENT,
            values=values,
            boot_id=boot_id,
        )
        self._write(entry)
        return entry

    def update_values(self, entry: Entry, values: tuple[KernelValue, ...], outcome: Outcome, *, detail: str) -> Entry:
        """The entry with other values: its verb goes on changing the same host."""
        ended_at = None if outcome is Outcome.BEGUN else _now()
        changed = msgspec.structs.replace(entry, values=values, outcome=outcome, detail=detail, ended_at=ended_at)
        self._write(changed)
        return changed

    def end(self, entry: Entry, outcome: Outcome, *, after: GuestState | None) -> Entry:
        """Write down how the change ended."""
        ended = msgspec.structs.replace(entry, outcome=outcome, after=after, ended_at=_now())
        self._write(ended)
        return ended

    def mark(self, entries: Iterable[Entry], outcome: Outcome) -> None:
        """Entries whose change was taken back, or stands again."""
        for entry in entries:
            self._write(msgspec.structs.replace(entry, outcome=outcome))

    def _next(self) -> int:
        number = max(self._numbers(), default=0) + 1
        if number % 100 == 0:
            self._forget(number - KEPT)
        return number

    def _forget(self, oldest: int) -> None:
        """Take away entries before ``oldest`` that nobody can ask for: taken back, or of guests that are gone."""
        entries = self.entries()
        gone = {one.uuid for one in entries if one.outcome is Outcome.DONE and one.after == ABSENT}
        for entry in entries:
            over = entry.outcome not in (Outcome.BEGUN, Outcome.DONE)
            if entry.id < oldest and (over or (entry.domain and entry.uuid in gone)):
                self._path(entry.id).unlink()

    def _numbers(self) -> list[int]:
        """The ids of all entries, in order; a copy that somebody made of one is none."""
        names = (path.stem for path in self.folder.glob("[0-9]*.json"))
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and name == f"{int(name):06}")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def _read(self, path: Path) -> Entry:
        try:
            data = path.read_bytes()
        except OSError as why:
            raise CellwrightError(f"journal {path}: {why.strerror}") from why
        return decode(data, Entry, source=f"journal {path}")

    def _write(self, entry: Entry) -> None:
        write_durably(self._path(entry.id), encode(entry) + b"\n", what="journal")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
