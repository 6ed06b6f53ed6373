"""Where the host side keeps its files: the journal, which must outlive a reboot, and facts that must not."""

from __future__ import annotations

import os
from pathlib import Path


def state_dir() -> Path:
    """``/var/lib/cellwright`` for root, ``$XDG_STATE_HOME/cellwright`` (``~/.local/state``) for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/cellwright")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "cellwright"


def run_dir() -> Path:
    """``/run/cellwright`` for root, ``$XDG_RUNTIME_DIR/cellwright`` for everybody else."""
    if os.geteuid() == 0:
        return Path("/run/cellwright")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or Path.home() / ".cache") / "cellwright"
