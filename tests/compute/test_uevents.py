"""The kernel's events: its messages, and real ones of this machine."""

import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from agent.compute.uevents import KernelEvent, parse_event, read_events

MESSAGES = {
    b"offline@/devices/system/cpu/cpu12\0ACTION=offline\0SUBSYSTEM=cpu\0SEQNUM=1\0": ("cpu", "offline", "cpu12", 12),
    b"add@/devices/system/memory/memory40\0ACTION=add\0SUBSYSTEM=memory\0": ("memory", "add", "memory40", None),
    b"change@/devices/system/cpu/cpu1\0SUBSYSTEM=cpu\0": ("cpu", "change", "cpu1", None),
    b"online@/devices/x\0": ("", "online", "x", None),
}


@pytest.mark.parametrize(("message", "event"), MESSAGES.items(), ids=[str(one) for one in MESSAGES.values()])
def test_messages(message: bytes, event: tuple[str, str, str, int | None]) -> None:
    found = parse_event(message)
    assert found == KernelEvent(*event[:3])
    assert found.pcpu == event[3]


@pytest.mark.parametrize("message", [b"", b"libudev\0\xfe\xed\xca\xfe", b"\xff\xff"])
def test_what_is_no_event_of_the_kernel(message: bytes) -> None:
    assert parse_event(message) is None


def test_an_event_of_this_machine() -> None:
    """Writing to a device's ``uevent`` has the kernel tell of it (Documentation/ABI/testing/sysfs-uevent)."""
    seen: SimpleQueue[KernelEvent] = SimpleQueue()
    ready = threading.Event()

    def listen() -> None:
        for event in read_events(listening=ready.set):
            if event.device == "cpu0":
                seen.put(event)
                return

    threading.Thread(target=listen, daemon=True).start()
    assert ready.wait(10)
    Path("/sys/devices/system/cpu/cpu0/uevent").write_text("change\n")
    assert seen.get(timeout=10) == KernelEvent("cpu", "change", "cpu0")
