"""Where a service listens: ``ADDR:PORT``, in the settings and on the command line."""

from __future__ import annotations

from agent.core.errors import BadInput


def parse_listen(text: str, *, what: str) -> tuple[str, int]:
    """The address and port of ``ADDR:PORT`` or ``[ADDR]:PORT``; BadInput names ``what`` and says what is allowed."""
    address, colon, port = text.rpartition(":")
    if not (colon and address and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise BadInput(f"{what} {text!r}; allowed: ADDRESS:PORT, such as 127.0.0.1:8774 or [::1]:8774")
    return address.strip("[]"), int(port)
