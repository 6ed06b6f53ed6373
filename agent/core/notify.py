"""Telling the service manager how it goes (sd_notify(3)): one datagram of KEY=VALUE lines.

>>> notify(None, READY=1)
False
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial

import msgspec


class Manager(msgspec.Struct, frozen=True):
    """The service manager's wishes: where to write, and how often it wants to hear that we live (None: never)."""

    tell: Callable[..., bool]
    watchdog_s: float | None = None

    def tell_reloading(self) -> None:
        """Say that the settings are read again, and since when; READY=1 ends it."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def manager_of(environment: Mapping[str, str]) -> Manager:
    """The manager that started this process, by what it left in the environment; nobody hears where there is none."""
    watchdog_us = environment.get("WATCHDOG_USEC", "")
    return Manager(
        tell=partial(notify, environment.get("NOTIFY_SOCKET")),
        watchdog_s=int(watchdog_us) / 1e6 if watchdog_us.isdecimal() and int(watchdog_us) else None,
    )


def notify(address: str | None, **fields: object) -> bool:
    """Send the fields to ``address``, which is $NOTIFY_SOCKET; False where there is no manager, or it does not listen.

    A service runs on without its manager, so nothing is raised.
    """
    if not address or address[0] not in "/@":
        return False
    text = "\n".join(f"{key}={' '.join(str(value).split())}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return False
    return True
