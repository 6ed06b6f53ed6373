"""``lab``: a booted machine that the tests of its topology share: ``parametrize("lab", ["2n"], indirect=True)``.

Pytest runs the tests of one topology together, so each is started once.  Tests leave the machine as they found it:
no guests, every CPU online, no huge pages.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import Machine, prepare, start
from tests.lab.payload import pack_checkout
from tests.lab.topologies import TOPOLOGIES


@pytest.fixture(scope="session")
def payload() -> bytes:
    return pack_checkout()


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest) -> Path:
    """The folder with the image; when that cannot be built, each test of the session gets this error at once."""
    folder = Path(request.config.getoption("--lab-cache")).absolute()
    prepare(folder)
    return folder


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, cache: Path, payload: bytes) -> Iterator[Machine]:
    """The machine of the named topology, running the checkout's code."""
    with start(TOPOLOGIES[request.param], cache=cache, payload=payload) as machine:
        yield machine
