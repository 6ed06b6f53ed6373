"""Writing to kernel files (/proc/irq, /sys/devices/system/cpu): one value, one write, and the kernel's own answer.

Where the files are is known in ``agent.inspection``, which reads them.
"""

from __future__ import annotations

import os
from errno import EACCES, EROFS

import msgspec

from agent.core.errors import CellwrightError
from agent.inspection.files import Root


class KernelValue(msgspec.Struct, frozen=True):
    """A kernel file (below a Root) that we wrote: its text before, and after."""

    file: str
    before: str
    after: str


class KernelRefused(CellwrightError):
    """A write that did not happen; ``for_good`` when it is the kernel's own answer and no lack of a right."""

    def __init__(self, file: str, text: str, why: str, *, for_good: bool) -> None:
        super().__init__(f"{file}: {text} cannot be written: {why}")
        self.why = why
        self.for_good = for_good


def write_value(root: Root, file: str, text: str) -> None:
    """Write ``text`` to a kernel file and read it back; KernelRefused says why it is not what it should be.

    A file without a write bit is the kernel's way to say that nobody may (Linux 6.12 and later, for interrupts).
    """
    path = root.prefix + file
    try:
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    except OSError as why:
        hint = ""
        if why.errno == EROFS:
            hint = "; a service with ProtectKernelTunables=yes may not: see cellwright-agent(8)"
        raise KernelRefused(path, text, f"{why.strerror}{hint}", for_good=_is_read_only(path, why)) from why
    try:
        os.write(handle, f"{text}\n".encode())
    except OSError as why:
        raise KernelRefused(path, text, why.strerror or str(why), for_good=True) from why
    finally:
        os.close(handle)
    now = root.line(file)
    if now != text:
        raise KernelRefused(path, text, f"the kernel made it {now}", for_good=True)


def _is_read_only(path: str, why: OSError) -> bool:
    return why.errno == EACCES and not os.stat(path).st_mode & 0o222  # noqa: PTH116  # a kernel file's own bits
