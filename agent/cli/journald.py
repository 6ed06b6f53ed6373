"""Log records to systemd's journal with fields of their own, over its native protocol: one datagram an entry.

The protocol is documented at https://systemd.io/JOURNAL_NATIVE_PROTOCOL; the libraries for it want a compiler and
libsystemd's headers, for what follows.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
LONGEST = 48 << 10
"""Bytes of one value; an entry of a few of them fits in a datagram whatever the socket's buffer."""

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 5, logging.ERROR: 3, logging.CRITICAL: 2}
"""Our levels as syslog's: what we warn of is a notice to an operator, what we call an error is his to look at."""


def is_journal(file: int, journal_stream: str | None) -> bool:
    """Whether systemd connected this file to the journal: ``$JOURNAL_STREAM`` names it (systemd.exec(5))."""
    try:
        found = os.fstat(file)
    except OSError:
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def render_entry(fields: Mapping[str, str]) -> bytes:
    """An entry: ``KEY=value`` lines, or for a value of several lines the key, its length and the bytes.

    >>> render_entry({"MESSAGE": "it runs", "PRIORITY": "5"})
    b'MESSAGE=it runs\\nPRIORITY=5\\n'
    """
    parts = []
    for key, text in fields.items():
        value = text.encode("utf-8", "replace")[:LONGEST]
        parts.append(key.encode() + (b"=" if b"\n" not in value else b"\n" + struct.pack("<Q", len(value))))
        parts.append(value + b"\n")
    return b"".join(parts)


class JournalHandler(logging.Handler):
    """Sends each record with its ``journal`` fields; what the journal does not take goes to ``otherwise``."""

    def __init__(self, otherwise: logging.Handler, *, path: str = SOCKET) -> None:
        super().__init__()
        self._otherwise = otherwise
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """One datagram."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "cellwright",
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            **getattr(record, "journal", {}),
        }
        try:
            self._socket.sendto(render_entry(fields), self._path)
        except OSError:
            self._otherwise.handle(record)

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()
        super().close()
