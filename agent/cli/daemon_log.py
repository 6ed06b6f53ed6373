"""How the daemons log: to the journal with fields where stderr goes there, plain lines on a terminal.

Where the journal's own socket is not to be had its lines have their priority before them (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentParser

from agent.cli.journald import PRIORITIES, JournalHandler, is_journal

LEVELS = ("debug", "info", "warning", "error")


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
    """Log to the journal when that is where stderr goes, else to stderr; ``level`` is that of our own lines."""
    handler: logging.Handler = logging.StreamHandler()
    stream = os.environ.get("JOURNAL_STREAM")
    if stream is not None:
        handler.setFormatter(JournalFormatter("%(message)s"))
        if is_journal(sys.stderr.fileno(), stream):
            handler = JournalHandler(handler)
            handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("cellwright").setLevel(level.upper())
