"""What the kernel tells of its devices as it happens (uevents): a pCPU, memory or a cell that comes or goes.

Source: Documentation/core-api/cpu_hotplug.rst; drivers/base/core.c for ``online`` and ``offline``; lib/kobject_uevent.c
for the messages.  The socket is Python's own: a netlink library would be a fifth of the agent's memory for this alone.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import msgspec

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1
"""The multicast group of the kernel's own messages; udev's come on another."""

LONGEST = 16384
_CPU = re.compile(r"cpu(\d+)")


class KernelEvent(msgspec.Struct, frozen=True):
    """``action`` is the kernel's word (online, offline, add, remove, change); ``device`` the last part of its path."""

    subsystem: str
    action: str
    device: str

    @property
    def pcpu(self) -> int | None:
        """The pCPU that came or went."""
        found = _CPU.fullmatch(self.device)
        return int(found[1]) if found and self.subsystem == "cpu" and self.action in ("online", "offline") else None


def read_events(*, listening: Callable[[], None] = lambda: None) -> Iterator[KernelEvent]:
    """Yield events for ever; ``listening`` is called when none is missed any more.

    Raises OSError where the kernel does not let this process listen.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT) as kernel:
        kernel.bind((0, KERNEL_GROUP))
        listening()
        while True:
            message, sender = kernel.recvfrom(LONGEST)
            if sender[0] == 0 and (event := parse_event(message)) is not None:  # 0 is the kernel
                yield event


def parse_event(message: bytes) -> KernelEvent | None:
    """``ACTION@PATH`` and KEY=VALUE texts with NULs between them; None for what is no event of the kernel's own.

    >>> parse_event(b"offline@/devices/system/cpu/cpu3\\0ACTION=offline\\0SUBSYSTEM=cpu\\0")
    KernelEvent(subsystem='cpu', action='offline', device='cpu3')
    """
    head, *rest = message.decode("utf-8", "replace").split("\0")
    action, at, path = head.partition("@")
    if not at:
        return None
    fields = dict(text.partition("=")[::2] for text in rest)
    return KernelEvent(fields.get("SUBSYSTEM", ""), action, path.rpartition("/")[2])


class PcpuEvents:
    """pCPUs that come and go while something else is done, collected by a thread that ends with the process."""

    def __init__(self) -> None:
        self.why_not = ""
        self._events: SimpleQueue[KernelEvent] = SimpleQueue()
        self._settled = threading.Event()
        threading.Thread(target=self._collect, name="uevents", daemon=True).start()
        self._settled.wait()

    def waiting(self) -> bool:
        """Whether ``take`` has something to give."""
        return not self._events.empty()

    def take(self) -> tuple[KernelEvent, ...]:
        """What happened since the last time, in order."""
        taken: list[KernelEvent] = []
        while True:
            try:
                taken.append(self._events.get_nowait())
            except Empty:
                return tuple(taken)

    def _collect(self) -> None:
        try:
            for event in read_events(listening=self._settled.set):
                if event.pcpu is not None:
                    self._events.put(event)
        except OSError as why:
            self.why_not = str(why)
        finally:
            self._settled.set()
