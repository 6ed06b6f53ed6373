"""Saying a thing once: a log line when it begins or changes, another when it is over."""

from __future__ import annotations

import logging

LOG = logging.getLogger("cellwright.agent")


class Say:
    """What was said last about each subject."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __contains__(self, what: str) -> bool:
        return what in self._said

    def once(self, what: str, text: str, level: int = logging.ERROR) -> None:
        """Log a text that is not the last one about the same thing; "" says that it is over, where it was said."""
        if text:
            if self._said.get(what) != text:
                LOG.log(level, "%s", text)
            self._said[what] = text
        elif self._said.pop(what, ""):
            LOG.warning("%s: all is well again", what)

    def expect(self, what: str) -> None:
        """Take the subject as one about which nothing is known yet."""
        self._said.setdefault(what, "")

    def forget(self, what: str) -> None:
        """Say it again next time, and nothing now."""
        self._said.pop(what, None)
