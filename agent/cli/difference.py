"""What a verb would change, as text: a unified diff of the domain XML, and the masks of running threads."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.compute.masks import MaskChange


def render_difference(name: str, before: str | None, after: str | None, masks: Sequence[MaskChange]) -> str:
    """The diff of the configuration, then a line a thread; a sentence when nothing changes.

    None before: there is none yet, and all of it is new.  None after: it stays as it is.
    """
    lines: list[str] = []
    if after is not None:
        old = (before or "").splitlines(keepends=True)
        left = "/dev/null" if before is None else f"{name} (configuration)"
        lines += unified_diff(old, after.splitlines(keepends=True), left, f"{name} (wanted)")
    if masks:
        width = max(len(change.thread) for change in masks)
        lines.append(f"{name} (running)\n")
        lines += [f"  {change.thread:<{width}}  {change.before} -> {change.after}\n" for change in masks]
    text = "".join(line if line.endswith("\n") else line + "\n" for line in lines)
    return text or f"{name}: nothing would change\n"
