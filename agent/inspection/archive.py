"""A snapshot, or any tar of a saved /proc and /sys, read without unpacking it: nothing is ever written to a disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib

from agent.core.errors import BadInput
from agent.inspection.files import LONGEST, Root
from agent.inspection.links import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

MOST_BYTES = 512 << 20
MOST_MEMBERS = 500_000
TOP = ("sys", "proc")


class Archive(Root):
    """The files of an archive as a Root."""

    def __init__(self, path: str, files: dict[str, bytes], links: dict[str, str], folders: set[str]) -> None:
        super().__init__(path)
        self.live = False
        self.prefix = path + ":"
        self.files = files
        self.links = links
        self.children: dict[str, set[str]] = {}
        for name in [*files, *links, *folders]:
            while "/" in name:
                folder, _, child = name.rpartition("/")
                known = self.children.setdefault(folder, set())
                if child in known:
                    break
                known.add(child)
                name = folder  # up to the root, as far as it is new
        for folder in ["", *folders]:
            self.children.setdefault(folder, set())

    def read(self, path: str, limit: int = LONGEST) -> bytes | None:
        """As Root.read."""
        data = self.files.get(path)
        if data is None and self.links:
            data = self.files.get(self._resolve(path))
        return None if data is None else data[:limit]

    def names(self, path: str) -> list[str] | None:
        """As Root.names."""
        found = self.children.get(path)
        if found is None and self.links:
            found = self.children.get(self._resolve(path))
        return None if found is None else sorted(found)

    def link(self, path: str) -> str | None:
        """As Root.link."""
        folder, slash, name = path.rpartition("/")
        return self.links.get((self._resolve(folder) if self.links else folder) + slash + name)

    def _resolve(self, path: str) -> str:
        try:
            return follow(path, self.links.get)
        except BadInput as why:
            raise BadInput(f"{self.prefix}{why}") from why


def read_archive(path: str) -> Archive:
    """Open a snapshot (.tar.zst, .tar.gz) or a tar of a saved tree, plain or compressed with gzip, xz or zstd.

    BadInput when it is no such archive, is damaged, has absolute paths or ``..``, devices, or is too large.
    """
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    folders: set[str] = set()
    left = MOST_BYTES
    try:
        with open(path, "rb") as file, _open(file, path) as archive:  # noqa: PTH123  # pathlib takes 3 ms to import
            for number, member in enumerate(archive):
                name = _safe_name(member.name, path)
                if number >= MOST_MEMBERS:
                    raise BadInput(f"{path}: more than {MOST_MEMBERS} files")
                if member.isreg():
                    if member.size > LONGEST:
                        raise BadInput(f"{path}: {name} has {member.size} bytes; allowed: up to {LONGEST}")
                    left -= member.size  # a file of holes takes no room in the archive
                    if left < 0:
                        raise BadInput(f"{path}: unpacks to more than {MOST_BYTES >> 20} MiB")
                    content = archive.extractfile(member)
                    files[name] = content.read() if content else b""
                elif member.issym():
                    links[name] = member.linkname
                elif member.islnk():
                    files[name] = files.get(_safe_name(member.linkname, path), b"")
                elif member.isdir():
                    folders.add(name)
                else:
                    raise BadInput(f"{path}: {name} is a device or a FIFO; a saved tree has files and links")
    except OSError as why:
        raise BadInput(f"{path}: {why.strerror or why}") from why
    except (tarfile.TarError, ValueError, RecursionError) as why:
        raise BadInput(f"{path}: not a whole tar archive: {why}") from why
    prefix = _prefix([*files, *links, *folders])
    if prefix is None:
        raise BadInput(f"{path}: neither a sys nor a proc folder is in it")
    cut = len(prefix)
    return Archive(
        path,
        {name[cut:]: data for name, data in files.items() if name.startswith(prefix)},
        {name[cut:]: target for name, target in links.items() if name.startswith(prefix)},
        {name[cut:] for name in folders if name.startswith(prefix)},
    )


def _safe_name(name: str, path: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise BadInput(f"{path}: {name!r} leads out of the archive")
    return "/".join(parts)


def _prefix(names: list[str]) -> str | None:
    """What stands before ``sys`` and ``proc``: nothing, or the folder that was packed; the shortest, first by name."""
    found = set()
    for name in names:
        parts = name.split("/")
        for top in TOP:
            if top in parts:
                found.add("".join(part + "/" for part in parts[: parts.index(top)]))
    return min(found, key=lambda prefix: (prefix.count("/"), prefix), default=None)


class _Bounded:
    """A stream that ends in BadInput when it is ``damaged``, or unpacks to more than an archive may."""

    def __init__(self, stream: IO[bytes], path: str, damaged: tuple[type[Exception], ...]) -> None:
        self.stream = stream
        self.path = path
        self.damaged = damaged
        self.left = MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        try:
            data = self.stream.read(size if 0 <= size < self.left else self.left + 1)
        except self.damaged as why:
            raise BadInput(f"{self.path}: not a whole tar archive: {why}") from why
        self.left -= len(data)
        if self.left < 0:
            raise BadInput(f"{self.path}: unpacks to more than {MOST_BYTES >> 20} MiB")
        return data


def _open(file: IO[bytes], path: str) -> tarfile.TarFile:
    magic = file.read(6)
    file.seek(0)
    stream: Any = file
    damaged: tuple[type[Exception], ...] = (EOFError, zlib.error, lzma.LZMAError)
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=file)
    elif magic.startswith(b"\xfd7zXZ"):
        stream = lzma.LZMAFile(file)  # noqa: SIM115  # closed with the file below it
    elif magic.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            import zstandard
        except ImportError as why:
            raise BadInput(
                f"{path}: reading zstd needs the zstandard package (pip install 'cellwright[host]')"
            ) from why
        stream = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file)
        damaged = (zstandard.ZstdError,)
    bounded: Any = _Bounded(stream, path, damaged)
    return tarfile.open(fileobj=bounded, mode="r|")
