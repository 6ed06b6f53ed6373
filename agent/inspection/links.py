"""Symbolic links inside a tree that is no file system: followed by hand, as the kernel would."""

from __future__ import annotations

from collections.abc import Callable

from agent.core.errors import BadInput

MOST_LINKS = 40
"""As the kernel's own limit in one path."""


def follow(path: str, link: Callable[[str], str | None]) -> str:
    """The path with every link in it followed; ``link`` answers a path's target, None where it is no link.

    An absolute target starts at the tree's root.  BadInput where links lead in a circle.
    """
    done: list[str] = []
    rest = path.split("/")[::-1]
    followed = 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        target = link("/".join(done))
        if target is None:
            continue
        followed += 1
        if followed > MOST_LINKS:
            raise BadInput(f"{path}: symbolic links lead in a circle")
        done = [] if target.startswith("/") else done[:-1]
        rest += target.split("/")[::-1]
    return "/".join(done)
