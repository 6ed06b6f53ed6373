"""Whether there is any configuration: two stats, so that a host without one does not pay for reading settings."""

from __future__ import annotations

import os

FOLDER = "/etc/cellwright"
"""Where the settings of a host are: ``cellwright.toml`` and ``conf.d/*.toml``."""


def is_configured(folder: str = FOLDER) -> bool:
    """Whether the folder has a ``cellwright.toml`` or drop-ins."""
    return os.access(f"{folder}/cellwright.toml", os.F_OK) or os.access(f"{folder}/conf.d", os.F_OK)
