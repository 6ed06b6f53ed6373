"""Doctor's findings as text: a line each, with the reason and the command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Finding(Protocol):
    """What a finding needs to have to be shown."""

    @property
    def severity(self) -> str:
        """``matters`` or ``advice``."""

    @property
    def what(self) -> str:
        """What is so."""

    @property
    def why(self) -> str:
        """Why it matters."""

    @property
    def change(self) -> str:
        """The command that changes it."""


def render_findings(hostname: str, findings: Iterable[Finding]) -> str:
    """``matters  WHAT: WHY; change: COMMAND``, one finding a line, or that there are none."""
    lines = [f"{finding.severity:<8} {finding.what}: {finding.why}; change: {finding.change}" for finding in findings]
    return "\n".join(lines or [f"{hostname} is fit for pinned guests: no findings"]) + "\n"
