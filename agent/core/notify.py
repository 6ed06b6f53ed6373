"""Telling the service manager how it goes (sd_notify(3)): one datagram of KEY=VALUE lines.

>>> notify(None, READY=1)
False
"""

from __future__ import annotations

import socket


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
