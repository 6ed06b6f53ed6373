"""What the kernel tells of its devices as it happens (uevents): a pCPU, memory or a cell that comes or goes.

Heard through pyroute2's uevent socket.  Source: Documentation/core-api/cpu_hotplug.rst; drivers/base/core.c for
``online`` and ``offline``; lib/kobject_uevent.c for the messages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from errno import ENOBUFS, EPERM
from queue import Empty, SimpleQueue

import msgspec

KERNEL_GROUP = 1
"""The multicast group of the kernel's own messages; udev's come on another."""

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


MISSED = KernelEvent("", "missed", "")
"""Events came faster than they were read, and are lost: anything may have come or gone."""


def read_events(*, listening: Callable[[], None] = lambda: None) -> Iterator[KernelEvent]:
    """Yield events for ever, MISSED for those that were lost; ``listening`` is called when none is missed any more.

    Raises OSError where the kernel does not let this process listen.
    """
    from pyroute2 import UeventSocket  # a fifth of a second, for those who listen

    while True:
        kernel = UeventSocket()
        try:
            kernel.bind(groups=KERNEL_GROUP)
            listening()
            while True:
                try:
                    messages = kernel.get()
                except UnicodeDecodeError:
                    continue  # a device whose name is no text; those that matter here are numbered
                yield from map(event_of, messages)
        except KeyError as why:  # pyroute2's word for every bind that the kernel refuses
            raise OSError(EPERM, f"no netlink socket for kernel events: {why}") from why
        except OSError as why:
            if why.errno != ENOBUFS:
                raise
            yield MISSED
        finally:
            with suppress(OSError):  # a socket that overflowed fails at everything, at this too
                kernel.close()


def event_of(message: Mapping[str, str]) -> KernelEvent:
    """One message of the kernel: its KEY=VALUE texts.

    >>> event_of({"ACTION": "offline", "DEVPATH": "/devices/system/cpu/cpu3", "SUBSYSTEM": "cpu"})
    KernelEvent(subsystem='cpu', action='offline', device='cpu3')
    """
    path = message.get("DEVPATH", "")
    return KernelEvent(message.get("SUBSYSTEM", ""), message.get("ACTION", ""), path.rpartition("/")[2])


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
