"""How the daemons log: lines with a priority for journald (sd-daemon(3)), plain lines on a terminal."""

from __future__ import annotations

import logging
import os
from argparse import ArgumentParser

LEVELS = ("debug", "info", "warning", "error")
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 5, logging.ERROR: 3, logging.CRITICAL: 2}
"""Our levels as syslog's: what we warn of is a notice to an operator, what we call an error is his to look at."""


class JournalFormatter(logging.Formatter):
    """``<N>text``: journald takes N as the message's priority."""

    def format(self, record: logging.LogRecord) -> str:
        """One line a record; a traceback's lines carry the priority each."""
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def add_log_option(parser: ArgumentParser) -> None:
    """``--log-level``."""
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="default: info, one line a decision")


def start_logging(level: str = "warning") -> None:
    """Log to stderr, in journald's form when that is where stderr goes; ``level`` is that of our own lines."""
    handler = logging.StreamHandler()
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("cellwright").setLevel(level.upper())
