"""The kernel's events: its messages, and real ones of this machine."""

import threading
from pathlib import Path
from queue import SimpleQueue

import pyroute2
import pytest
from pyroute2.netlink.uevent import MarshalUevent, ueventmsg

from agent.compute.uevents import KERNEL_GROUP, MISSED, KernelEvent, event_of, read_events

UEVENT = Path("/sys/devices/system/cpu/cpu0/uevent")
"""Writing to it has the kernel tell of the device (Documentation/ABI/testing/sysfs-uevent)."""

MESSAGES = {
    "a pCPU goes": ({"ACTION": "offline", "DEVPATH": "/devices/system/cpu/cpu12", "SUBSYSTEM": "cpu"}, 12),
    "a pCPU comes": ({"ACTION": "online", "DEVPATH": "/devices/system/cpu/cpu0", "SUBSYSTEM": "cpu"}, 0),
    "something of a pCPU": ({"ACTION": "change", "DEVPATH": "/devices/system/cpu/cpu1", "SUBSYSTEM": "cpu"}, None),
    "memory": ({"ACTION": "add", "DEVPATH": "/devices/system/memory/memory40", "SUBSYSTEM": "memory"}, None),
    "another's cpu3": ({"ACTION": "online", "DEVPATH": "/devices/x/cpu3", "SUBSYSTEM": "x"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("message", "pcpu"), MESSAGES.values(), ids=MESSAGES)
def test_messages(message: dict[str, str], pcpu: int | None) -> None:
    found = event_of(message)
    assert (found.subsystem, found.action) == (message.get("SUBSYSTEM", ""), message.get("ACTION", ""))
    assert found.device == message.get("DEVPATH", "").split("/")[-1]
    assert found.pcpu == pcpu


def test_an_event_of_this_machine() -> None:
    seen: SimpleQueue[KernelEvent] = SimpleQueue()
    ready = threading.Event()

    def listen() -> None:
        for event in read_events(listening=ready.set):
            if event.device == "cpu0":
                seen.put(event)
                return

    threading.Thread(target=listen, daemon=True).start()
    assert ready.wait(120)
    UEVENT.write_text("change\n")
    assert seen.get(timeout=120) == KernelEvent("cpu", "change", "cpu0")


def test_lost_events_are_told_and_later_ones_heard() -> None:
    """More than the socket holds, before the first is read; then one, as soon as it is listened to again."""
    counts = iter([5000, 1])
    events = read_events(listening=lambda: [UEVENT.write_text("change\n") for _ in range(next(counts))] and None)
    while next(events) != MISSED:
        pass
    assert next(event for event in events if event.subsystem == "cpu") == KernelEvent("cpu", "change", "cpu0")
    events.close()


class OddSocket:
    """A kernel that tells of a device with an odd name, and then of a pCPU."""

    def __init__(self) -> None:
        self.messages = iter([b"add@/devices/\xff", b"offline@/devices/system/cpu/cpu3\0ACTION=offline\0SUBSYSTEM=cpu"])

    def bind(self, groups: int) -> None:
        assert groups == KERNEL_GROUP

    def get(self) -> tuple[ueventmsg, ...]:
        return tuple(MarshalUevent().parse(next(self.messages)))

    def close(self) -> None:
        pass


def test_a_device_with_an_odd_name_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyroute2, "UeventSocket", OddSocket)
    assert next(read_events()).action == "offline"
