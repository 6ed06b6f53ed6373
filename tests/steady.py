"""Comparisons with this very host, whose memory a balloon may change at any time."""

from collections.abc import Callable
from typing import TypeVar

from agent.inspection.host import read_host

T = TypeVar("T")


def while_memory_stands_still(look: Callable[[], T]) -> T:
    """What ``look`` answers; asked again where a cell's memory was not the same before and after it."""
    for _ in range(20):
        before, found, after = sizes(), look(), sizes()
        if before == after:
            return found
    raise AssertionError(f"this host's memory changes all the time: {before}, {after}")


def sizes() -> list[int | None]:
    """The memory of each cell."""
    return [cell.memory_kib for cell in read_host().cells]
