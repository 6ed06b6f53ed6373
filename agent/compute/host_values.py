"""Kernel files that one verb keeps changed on this host: written down before, put back when nobody wants them any more.

All that a verb changed is one entry of the journal, which grows and shrinks with it, so that ``cellwright undo`` takes
back the whole and whatever killed the verb in the middle leaves an entry that the next one puts back.  A file that
somebody else wrote since is his: it is reported, and forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.compute.journal import Entry, Journal, Outcome
from agent.compute.kernel_files import KernelRefused, KernelValue, write_value
from agent.core.errors import BadInput, CellwrightError
from agent.inspection.boot import read_boot_id
from agent.inspection.files import Root


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What one settling did: files written, files put back, files that others had written, and what was refused."""

    changed: tuple[KernelValue, ...] = ()
    restored: tuple[KernelValue, ...] = ()
    foreign: tuple[tuple[KernelValue, str], ...] = ()
    refused: dict[str, KernelRefused] = {}


class HostValues:
    """The files that ``verb`` has changed in this boot, as the journal has them.

    ``continued``: go on with what an earlier process of this verb has changed; a command for people begins anew.
    """

    def __init__(self, journal: Journal, *, verb: str, uri: str, root: Root, continued: bool) -> None:
        self._journal = journal
        self._verb = verb
        self._uri = uri
        self._root = root
        self._boot_id = read_boot_id(root)
        self._number = _find_open(journal, verb, self._boot_id) if continued else None

    def held(self) -> dict[str, KernelValue]:
        """File → what it was and what we made it, without those of which somebody made an undo."""
        entry = self._entry()
        return {value.file: value for value in entry.values} if entry else {}

    def settle(self, wanted: Mapping[str, str], *, detail: str = "") -> Written:
        """Make every file of ``wanted`` hold its text, as the kernel writes it, and put back all others that are held.

        Call it with the journal locked.  A file that is gone is forgotten; one that cannot be written is in ``refused``
        and what was there stays.
        """
        held = self.held()
        now = {file: self._root.line(file) for file in {*held, *wanted}}
        mine = {file: value for file, value in held.items() if now[file] == value.after}
        foreign = [(value, text) for file, value in held.items() if (text := now[file]) not in (None, value.after)]
        back = [value for file, value in mine.items() if file not in wanted]
        new = [
            KernelValue(file, mine[file].before if file in mine else was, text)
            for file, text in sorted(wanted.items())
            if (was := now[file]) is not None and was != text
        ]
        refused: dict[str, KernelRefused] = {}
        if back or new:
            left = dict(mine)
            self._begin({**mine, **{value.file: value for value in new}})
            for value in back:
                if self._write(value.file, value.before, refused):
                    del left[value.file]
            for value in new:
                if self._write(value.file, value.after, refused):
                    left[value.file] = value
            self._end(left, detail)
        elif len(mine) < len(held):
            self._end(mine, detail)
        return Written(
            changed=tuple(value for value in new if value.file not in refused),
            restored=tuple(value for value in back if value.file not in refused),
            foreign=tuple(foreign),
            refused=refused,
        )

    def _entry(self) -> Entry | None:
        entry = None if self._number is None else self._journal.entry(self._number)
        return entry if entry is not None and _is_open(entry, self._verb, self._boot_id) else None

    def _begin(self, values: Mapping[str, KernelValue]) -> None:
        entry, about = self._entry(), tuple(values.values())
        if entry is None:
            entry = self._journal.begin_values(about, verb=self._verb, uri=self._uri, boot_id=self._boot_id)
        else:
            self._journal.update_values(entry, about, Outcome.BEGUN, detail=entry.detail)
        self._number = entry.id

    def _end(self, values: Mapping[str, KernelValue], detail: str) -> None:
        if self._number is not None:
            entry = self._journal.entry(self._number)
            outcome = Outcome.DONE if values else Outcome.UNDONE
            self._journal.update_values(entry, tuple(values.values()), outcome, detail=detail or entry.detail)

    def _write(self, file: str, text: str, refused: dict[str, KernelRefused]) -> bool:
        try:
            write_value(self._root, file, text)
        except KernelRefused as why:
            refused[file] = why
        return file not in refused


def put_back_values(root: Root, entry: Entry, *, force: bool) -> None:
    """Give every file of an entry its text of before; nothing is left of an entry from before the host's last boot.

    BadInput when somebody wrote one of them since, unless forced.  A file that is gone is passed over.
    """
    if entry.boot_id != read_boot_id(root):
        return
    now = {value.file: root.line(value.file) for value in entry.values}
    there = [value for value in entry.values if now[value.file] not in (None, value.before)]
    others = [f"{root.prefix}{value.file} is {now[value.file]}" for value in there if now[value.file] != value.after]
    if others and not force:
        raise BadInput(
            f"changed since {entry.verb} {entry.id}: {'; '.join(others)}; --force puts them back all the same"
        )
    for value in there:
        write_value(root, value.file, value.before)


def _find_open(journal: Journal, verb: str, boot_id: str | None) -> int | None:
    """The verb's entry; None when the journal cannot be read, which whoever changes a guest next is told."""
    try:
        entries = journal.entries()
    except CellwrightError:
        return None
    return next((one.id for one in reversed(entries) if _is_open(one, verb, boot_id)), None)


def _is_open(entry: Entry, verb: str, boot_id: str | None) -> bool:
    return entry.verb == verb and entry.outcome is Outcome.DONE and bool(entry.values) and entry.boot_id == boot_id
