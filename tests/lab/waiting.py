"""To wait for what follows a moment later, on a machine that may be slow."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LIMIT_S = 600
"""How long what takes seconds may take: whether it ends at all is asked, on a machine of which nothing is known."""


def wait_until(what: str, ask: Callable[[], T], *, told: Callable[[], str] = lambda: "") -> T:
    """What ``ask`` answers once it is true; ``told`` is what a failure shows besides."""
    until = time.monotonic() + LIMIT_S
    while not (found := ask()):
        assert time.monotonic() < until, f"not within {LIMIT_S} s: {what}\n{told()}"
        time.sleep(0.5)
    return found
