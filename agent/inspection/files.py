"""Where kernel files come from: a live host's /proc and /sys, or a saved tree of them.

Every reader of this room takes a Root and names files relative to it (``sys/devices/system/cpu/online``), so that the
same code reads this host, a folder (``--sysroot``) and an archive (``--snapshot``), and so that a snapshot can record
exactly what was read.  Absent is None, never an empty text.  Nothing here imports more than the interpreter has
loaded anyway: every start of ``cellwright topology`` pays for it.
"""

from __future__ import annotations

import posix  # what os is made of: os itself takes a millisecond where site has not loaded it
from errno import EACCES, EINVAL, EIO, ENODEV, ENOENT, ENOTDIR, ENXIO, EPERM, ESRCH

from agent.core.errors import BadInput
from agent.inspection.values import parse_stamp

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs as much to import as a small host takes to read
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

ABSENT = frozenset((ENOENT, ENOTDIR, ENODEV, ENXIO, ESRCH, EACCES, EPERM, EINVAL, EIO))
"""Errors that mean "this kernel does not tell": no such file, a device or process that has gone, no value in it."""

# a FIFO or device in a saved tree must not block: O_NONBLOCK changes nothing for kernel files
_HOW = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
PAGE = 4096
BELOW_PAGE = 3900
"""Bytes to ask a kernel's file of /proc for.  It answers a page at most, and what no longer fits is made once more: of
numa_maps, an area's page tables are walked again; less than a page is answered as soon as there is that much
(seq_read_iter in fs/seq_file.c)."""
LONGEST = 64 << 20
"""Bytes; /proc/cpuinfo of 8,192 CPUs has a fifth of this.  A longer file is no kernel file."""

ENDS = b"\0\r\n "
"""What stands behind a value: some kernels leave NULs, and a tree that went through Windows has its line ends."""

STAMP = "cellwright.snapshot"
"""The file in which a snapshot keeps what no kernel file tells: when it was taken, and the base page size."""


class Vanished(BadInput):
    """A file that was there when its folder was listed and is gone now: hot-unplug, or half a saved tree."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: listed in its folder, but gone when it was read (twice)")
        self.path = path


class Root:
    """The kernel files below one folder; ``/`` is the live host."""

    def __init__(self, folder: str = "/") -> None:
        if not folder:
            raise BadInput("'' names no folder; allowed: / or the folder of a saved tree")
        self.folder = folder
        self.live = folder == "/"
        self.prefix = folder.rstrip("/") + "/"

    def read(self, path: str, limit: int = LONGEST) -> bytes | None:
        """The bytes of a file, the first ``limit`` of them when it has more; None when it cannot be had."""
        try:
            fd = posix.open(self.prefix + path, _HOW)
        except ValueError as why:
            raise BadInput(f"{self.prefix + path!r}: {why}") from why
        except OSError as why:
            self._check_absent(path, why)
            return None
        try:
            # sysfs answers an attribute in one piece; a full page, and everything of /proc, may go on
            if path.startswith("proc/"):
                data = self._rest(fd, path, b"", limit)
            elif len(data := posix.read(fd, PAGE)) == PAGE:
                data = self._rest(fd, path, data, limit)
        except OSError as why:
            self._check_absent(path, why)
            return None
        finally:
            posix.close(fd)
        return data

    def names(self, path: str) -> list[str] | None:
        """The sorted names in a folder; None when there is none."""
        try:
            return sorted(posix.listdir(self.prefix + path))
        except OSError as why:
            self._check_absent(path, why)
            return None

    def link(self, path: str) -> str | None:
        """Where a symbolic link points, as written in it; None when it is no link."""
        try:
            return posix.readlink(self.prefix + path)
        except OSError as why:
            self._check_absent(path, why)
            return None

    def identity(self) -> tuple[str | None, str | None, str | None]:
        """Host name, kernel release and machine architecture."""
        if self.live:
            host = posix.uname()
            return host.nodename, host.release, host.machine
        return (
            self.line("proc/sys/kernel/hostname"),
            self.line("proc/sys/kernel/osrelease"),
            self.line("proc/sys/kernel/arch"),
        )

    def hostname(self) -> str:
        """The kernel's name of the host: the one that placements, reports and verdicts carry."""
        return self.identity()[0] or "unknown"

    def stamp(self) -> tuple[str | None, int | None]:
        """When the files were collected (UTC, ISO 8601) and the base page size in KiB; None where not known."""
        if self.live:
            import time

            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), posix.sysconf("SC_PAGE_SIZE") >> 10
        return self.parsed(STAMP, parse_stamp) or (None, None)

    def text(self, path: str, limit: int = LONGEST) -> str | None:
        """A file as text, without what stands behind its value; never fails on odd bytes."""
        data = self.read(path, limit)
        return None if data is None else data.rstrip(ENDS).decode("utf-8", "replace")

    def line(self, path: str) -> str | None:
        """A file as one trimmed line; None when absent or empty."""
        text = self.text(path)
        return text.strip() or None if text else None

    def parsed(self, path: str, parse: Callable[[str], T]) -> T | None:
        """What ``parse`` makes of the file's text; its BadInput comes out with the file's name before it.

        A file without a single byte counts as absent: the kernel ends even an empty list with a newline, but tools that
        save trees leave such a file where a read failed (``cache/index0/size`` on POWER says ENODEV).
        """
        data = self.read(path)
        if not data:
            return None
        try:
            return parse(data.rstrip(ENDS).decode("utf-8", "replace"))
        except BadInput as why:
            raise BadInput(f"{self.prefix}{path}: {why}") from why

    def _rest(self, fd: int, path: str, data: bytes, limit: int) -> bytes:
        parts, size = [data], len(data)
        step = BELOW_PAGE if self.live else 16 * PAGE
        while size < limit and (more := posix.read(fd, min(step, limit - size))):
            parts.append(more)
            size += len(more)
        if size >= LONGEST:
            raise BadInput(f"{self.prefix}{path}: longer than {LONGEST >> 20} MiB; no kernel file is")
        return b"".join(parts)

    def _check_absent(self, path: str, why: OSError) -> None:
        if why.errno not in ABSENT:
            raise BadInput(f"{self.prefix}{path}: {why.strerror}") from why
