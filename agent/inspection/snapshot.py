"""Snapshots: exactly the kernel files that a report read, in a tar archive, so that any host can be read elsewhere.

``Recorder`` is a Root that remembers what was asked of it; ``write_snapshot`` packs that, without serial numbers, MAC
addresses, UUIDs and the names of processes unless told to keep them.  ``agent.inspection.archive`` reads it back.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

from agent.core.errors import BadInput, CellwrightError
from agent.inspection.files import LONGEST, STAMP, Root
from agent.inspection.links import follow

ENDINGS = (".tar.zst", ".tar.gz", ".tgz")
KERNEL_NAMES = ("hostname", "osrelease", "arch")

UUID = re.compile(rb"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
MAC = re.compile(rb"\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b")
SERIAL = re.compile(rb"(?im)^([^:\n]*\bserial\b[^:\n]*[:=][ \t]*)\S.*$|(\bidentification *= *)[0-9A-Fa-f]+")
"""``Serial : …`` of ARM and Alpha, and ``identification = …``, which holds the machine's serial number on s390."""
SERIAL_FILES = re.compile(r"(^|/)(serial(_number)?|\w+_serial|uevent|unique_id|wwid)$")

PROCESS = re.compile(r"proc/(\d+)(/|$)")
TELLING = (b"irqbalance\n",)
"""Names of processes that a report asks for; of the others only the first stays, which tells that there are some."""


class Recorder(Root):
    """A Root over another that remembers every file it gave, every folder it listed and every link it followed."""

    def __init__(self, root: Root) -> None:
        super().__init__(root.folder)
        self.live, self.prefix = root.live, root.prefix
        self.root = root
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.folders: set[str] = set()

    def read(self, path: str, limit: int = LONGEST) -> bytes | None:
        """As Root.read."""
        data = self.root.read(path, limit)
        if data is not None:
            self.files[self._place(path)] = data
        return data

    def names(self, path: str) -> list[str] | None:
        """As Root.names; a folder in a listed folder says something by being there (``cpu7``, which is offline)."""
        names = self.root.names(path)
        if names is not None and (place := self._place(path)):  # what is beside proc and sys says nothing
            self.folders.add(place)
            for name in names:
                if self._link(f"{place}/{name}") is None and self.root.names(f"{place}/{name}") is not None:
                    self.folders.add(f"{place}/{name}")
        return names

    def link(self, path: str) -> str | None:
        """As Root.link."""
        folder, _, name = path.rpartition("/")
        return self._link(f"{self._place(folder)}/{name}")

    def _place(self, path: str) -> str:
        """Where a file really is, so that the archive holds it once, with the links that lead to it."""
        # /proc/self leads to another process on every machine
        return path if path.startswith("proc/self/") else follow(path, self._link)

    def _link(self, path: str) -> str | None:
        target = self.root.link(path)
        if target is not None:
            self.links[path] = target
        return target

    def identity(self) -> tuple[str | None, str | None, str | None]:
        """As Root.identity; on the live host uname tells it, and the files of the same meaning are recorded."""
        found = super().identity()
        for name, value in zip(KERNEL_NAMES, found, strict=True):
            if value is not None:
                self.files[f"proc/sys/kernel/{name}"] = value.encode() + b"\n"
        return found

    def stamp(self) -> tuple[str | None, int | None]:
        """As Root.stamp, recorded in a file of the snapshot's own."""
        collected_at, page_kib = super().stamp()
        if page_kib is not None:
            self.files[STAMP] = f"{collected_at or ''}\n{page_kib}\n".encode()
        return collected_at, page_kib


def write_snapshot(recorder: Recorder, path: str, *, full: bool = False) -> int:
    """Pack what was recorded into ``path`` (.tar.zst or .tar.gz); the answer is how many files it holds.

    Without ``full``, serial numbers, MAC addresses and UUIDs are overwritten with zeros, and processes left out.
    """
    if not path.endswith(ENDINGS):
        raise BadInput(f"{path}: a snapshot's name ends with one of {', '.join(ENDINGS)}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        names = sorted(recorder.folders | recorder.files.keys() | recorder.links.keys())
        if not full:
            names = [name for name in names if not _is_private(name, recorder.files)]
        for name in names:
            member = tarfile.TarInfo(name if full else _redact_name(name))
            member.mode = 0o644
            data = recorder.files.get(name)
            if data is not None:
                data = data if full else redact_file(name, data)
                member.size = len(data)
            elif name in recorder.links:
                member.type = tarfile.SYMTYPE
                target = recorder.links[name]
                member.linkname = target if full else _redact_name(target)
            else:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member, io.BytesIO(data or b""))
    scratch = Path(f"{path}.{os.getpid()}.part")
    try:
        scratch.write_bytes(_compress(packed.getvalue(), path))
        scratch.rename(path)
    except OSError as why:
        scratch.unlink(missing_ok=True)
        raise CellwrightError(f"{path}: {why.strerror}") from why
    return len(recorder.files.keys() & set(names))


def _is_private(name: str, files: dict[str, bytes]) -> bool:
    process = PROCESS.match(name)
    return process is not None and process[1] != "1" and files.get(f"proc/{process[1]}/comm") not in TELLING


def redact(data: bytes) -> bytes:
    """The same text with the digits of UUIDs and MAC addresses zero."""
    zero = re.compile(rb"[0-9a-fA-F]")
    data = UUID.sub(lambda found: zero.sub(b"0", found[0]), data)
    return MAC.sub(lambda found: zero.sub(b"0", found[0]), data)


def _redact_name(name: str) -> str:
    """The same of a file's name, which may have bytes that are no UTF-8."""
    return redact(name.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def redact_file(name: str, data: bytes) -> bytes:
    """A file's content without what identifies the machine's owner or parts."""
    if SERIAL_FILES.search(name):
        return b"0\n"
    return SERIAL.sub(lambda found: (found[1] or found[2]) + b"0", redact(data))


def _compress(data: bytes, path: str) -> bytes:
    if path.endswith(".zst"):
        import zstandard

        return zstandard.ZstdCompressor(level=10).compress(data)
    import gzip

    return gzip.compress(data, mtime=0)
