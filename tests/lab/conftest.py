"""``lab``: a booted machine that the tests of its topology share: ``parametrize("lab", ["2n"], indirect=True)``.

Pytest runs the tests of one topology together, so each is started once.  Tests leave the machine as they found it:
no guests, every CPU online, no huge pages.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import Machine, start
from tests.lab.payload import pack_checkout
from tests.lab.topologies import TOPOLOGIES


@pytest.fixture(scope="session")
def payload() -> bytes:
    return pack_checkout()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, payload: bytes) -> Iterator[Machine]:
    """The machine of the named topology, running the checkout's code."""
    cache = Path(request.config.getoption("--lab-cache"))
    with start(TOPOLOGIES[request.param], cache=cache.absolute(), payload=payload) as machine:
        yield machine
