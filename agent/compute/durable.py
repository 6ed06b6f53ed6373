"""Files that are whole or not there: written under another name, synced, and put in place with their folder synced."""

from __future__ import annotations

import os
from pathlib import Path

from agent.core.errors import CellwrightError


def write_durably(path: Path, data: bytes, *, what: str) -> None:
    """Put ``data`` on disk for its owner alone; CellwrightError names ``what`` it is and why not (disk full …)."""
    draft = path.with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # a domain XML may hold passwords
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as why:
        raise CellwrightError(f"{what} {path}: {why.strerror}") from why
