"""Python's collector in a service that holds tens of thousands of connections: it looks at what is new, and often.

A look at everything takes a second where ten thousand agents hold two connections each; nobody is answered meanwhile,
and nothing is found: what a scheduler drops is freed at once, with its last reference.  So what a look leaves is put
aside, and all of it is looked at again once an hour, for the cycles that may have been made after all.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Mapping

EVERY_S = 0.25
WHOLE_EVERY = 14_400


async def collect(*, every_s: float = EVERY_S, whole_every: int = WHOLE_EVERY) -> None:
    """Look at what is new every ``every_s`` seconds, and each ``whole_every`` times at everything, until cancelled.

    Python begins by itself when more was made than freed; where each long poll follows another, that takes so long
    that its look is a long one.
    """
    gc.callbacks.append(_put_aside)
    try:
        for look in itertools.count(1):
            await asyncio.sleep(every_s)
            if look % whole_every:
                gc.collect(0)
            else:
                gc.unfreeze()
                gc.collect()
    finally:
        gc.callbacks.remove(_put_aside)


def _put_aside(phase: str, _info: Mapping[str, int]) -> None:
    if phase == "stop":
        gc.freeze()
