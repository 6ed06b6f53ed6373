"""Where a service listens (``ADDR:PORT``) and where it is found (``http://HOST:PORT``), as people write it."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from agent.core.errors import BadInput


def parse_listen(text: str, *, what: str) -> tuple[str, int]:
    """The address and port of ``ADDR:PORT`` or ``[ADDR]:PORT``; BadInput names ``what`` and says what is allowed."""
    address, colon, port = text.rpartition(":")
    if not (colon and address and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise BadInput(f"{what} {text!r}; allowed: ADDRESS:PORT, such as 127.0.0.1:8774 or [::1]:8774")
    return address.strip("[]"), int(port)


def parse_http(text: str, *, what: str) -> SplitResult:
    """The parts of ``http://HOST:PORT``, ``https://…`` or ``HOST:PORT``; BadInput names ``what``."""
    with suppress(ValueError):
        parts = urlsplit(text if "//" in text else f"http://{text}")
        host = (parts.hostname or "").encode("idna")  # as the resolver will
        if parts.scheme in ("http", "https") and host and b" " not in host and parts.port != 0:
            return parts
    raise BadInput(f"{what} {text!r}; allowed: http://HOST:PORT or https://HOST:PORT")
