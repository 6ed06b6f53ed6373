"""Where installed packages are: looked up when a verb needs one, because looking takes as long as a small report."""

from __future__ import annotations

import sys


def find_packages() -> None:
    """Let Python's site module find the packages, where the interpreter was started without it (``python -S``)."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
