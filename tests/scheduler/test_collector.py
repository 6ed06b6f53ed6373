"""Python's collector in the service: what it has seen is left alone, until everything is looked at."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from agent.scheduler.collector import collect


class Ring:
    """An object that refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _nothing_is_put_aside() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(("whole_every", "freed"), [(1_000_000, False), (3, True)])
def test_what_was_looked_at_once_is_looked_at_again_with_everything_else(whole_every: int, freed: bool) -> None:
    async def scenario() -> bool:
        kept, looks = Ring(), asyncio.create_task(collect(every_s=0.001, whole_every=whole_every))
        while not gc.get_freeze_count():
            await asyncio.sleep(0)
        old, new = weakref.ref(kept), weakref.ref(Ring())
        del kept
        async with asyncio.timeout(60):
            while new() is not None or (freed and old() is not None):
                await asyncio.sleep(0)
        looks.cancel()
        return old() is None

    assert asyncio.run(scenario()) == freed
    assert "_put_aside" not in {getattr(one, "__name__", "") for one in gc.callbacks}
