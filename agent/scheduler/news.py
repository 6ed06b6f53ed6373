"""Who waits for what is new on a host: agents that long-poll are woken when something is assigned to them."""

from __future__ import annotations

import asyncio


class News:
    """A number a host, which grows when its assignments change, and the waiters on it.

    ``tell`` may be called from any thread; ``wait`` belongs to the event loop that ``bind`` named.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which event loop the waiters live in."""
        self._loop = loop

    def tell(self, host: str) -> None:
        """Something is new on a host."""
        if self._loop is None or self._loop.is_closed():
            self._numbers[host] = self._numbers.get(host, 0) + 1
        else:
            self._loop.call_soon_threadsafe(self._wake, host)

    def close(self) -> None:
        """Let every waiter go: the service stops, and must not wait for those who wait for news."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)

    async def wait(self, host: str, after: int, wait_s: float) -> int:
        """The host's number, once it is another than ``after`` or ``wait_s`` seconds have passed.

        It is less than ``after`` when this process started since: that is news too.
        """
        number = self._numbers.get(host, 0)
        if number != after or wait_s <= 0 or after < 0 or self._closed:
            return number
        event = asyncio.Event()
        waiting = self._waiting.setdefault(host, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.discard(event)
        return self._numbers.get(host, 0)

    def _wake(self, host: str) -> None:
        self._numbers[host] = self._numbers.get(host, 0) + 1
        for event in self._waiting.get(host, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
