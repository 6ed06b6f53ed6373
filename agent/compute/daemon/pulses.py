"""Whether every thread of the agent still moves: each says when it will have moved again, at the latest.

>>> now = 100.0
>>> pulses = Pulses(clock=lambda: now)
>>> pulses.beat("host", within_s=5)
>>> now = 107.0
>>> pulses.overdue()
{'host': 2.0}
"""

from __future__ import annotations

from collections.abc import Callable


class Pulses:
    """The last word of each thread.  One thread writes a name, any may read."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}

    def beat(self, name: str, within_s: float) -> None:
        """The thread moves, and will again within that time."""
        self._due[name] = self._clock() + within_s

    def end(self, name: str) -> None:
        """The thread has nothing more to do."""
        self._due.pop(name, None)

    def overdue(self) -> dict[str, float]:
        """Threads that should have moved by now, by name, and since how many seconds."""
        now = self._clock()
        return {name: now - due for name, due in sorted(self._due.items()) if now > due}
