"""Kernel and libvirt events to the worker's inbox, each from a thread of its own, and what waits for the scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from random import Random

from agent.compute.daemon.link import Link
from agent.compute.driver import Driver
from agent.compute.uevents import MISSED, read_events
from agent.core.errors import CellwrightError, Unreachable

LOG = logging.getLogger("cellwright.agent")

WAIT_S = 30.0
"""How long one long poll lasts."""

RETRY_S = 2.0
SLOWEST_RETRY_S = 30.0

SUBSYSTEMS = ("cpu", "memory", "node")
"""Kernel subsystems whose events change the topology (Documentation/core-api/cpu_hotplug.rst, memory-hotplug.rst)."""


class Cause(StrEnum):
    """Why the worker should look."""

    HARDWARE = "hardware"  # a pCPU or memory came or went
    GUESTS = "guests"  # something happened to a domain
    NEWS = "news"  # the scheduler has news
    RELOAD = "reload"  # the settings were read again
    STOP = "stop"


Tell = Callable[[Cause], None]
Beat = Callable[[], object]
"""Said again and again by a thread that moves."""


def watch_libvirt(uri: str, tell: Tell, stop: threading.Event, *, beat: Beat) -> None:
    """Tell of every lifecycle event; a libvirtd that went away is waited for, and its return is told too."""

    def idle() -> bool:
        beat()
        return stop.is_set()

    while not idle():
        try:
            with Driver(uri) as libvirt:
                tell(Cause.GUESTS)
                tell(Cause.NEWS)
                for _ in libvirt.lifecycle(idle=idle):
                    tell(Cause.GUESTS)
        except CellwrightError:
            stop.wait(RETRY_S)  # the worker says that libvirt is away


def watch_kernel(tell: Tell) -> None:
    """Tell of every CPU or memory that comes or goes, for ever; without the right to listen it says so and ends."""
    try:
        for event in read_events():
            if event.subsystem in SUBSYSTEMS or event == MISSED:
                tell(Cause.HARDWARE)
    except OSError as why:
        LOG.warning("no kernel events (%s): hot-plug is seen at the next reading of the topology", why.strerror or why)


def watch_scheduler(
    link: Link, tell: Tell, *, accepted: threading.Event, stop: threading.Event, random: Random, beat: Beat
) -> None:
    """Tell when the scheduler has news for this host; it is asked only while it takes this host's reports."""
    after, retry_s = -1, RETRY_S
    while not stop.is_set():
        beat()
        if not accepted.wait(1.0):
            after = -1
            continue
        try:
            number = link.wait(after, WAIT_S)
        except CellwrightError as why:
            LOG.debug("long poll: %s", why)
            after = -1
            stop.wait(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(2 * retry_s, SLOWEST_RETRY_S) if isinstance(why, Unreachable) else SLOWEST_RETRY_S
            continue
        retry_s = RETRY_S
        if number != after:
            after = number
            tell(Cause.NEWS)
