"""A connection, a journal of its own, and guests that are always taken away again."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.inspection.files import Root
from tests.compute.guests import name_of, remove, tiny_xml
from tests.compute.kernel_tree import DEFAULT, allowed, put_back


@pytest.fixture
def libvirt(libvirt_uri: str) -> Iterator[Driver]:
    with Driver(libvirt_uri) as driver:
        yield driver


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A locked journal in a folder of the test."""
    made = Journal(tmp_path / "journal")
    with made.lock():
        yield made


@pytest.fixture
def names() -> Iterator[Callable[[str], str]]:
    """Make names for guests; whatever has such a name is removed afterwards."""
    made: list[str] = []

    def name(what: str) -> str:
        made.append(name_of(what))
        return made[-1]

    yield name
    for one in made:
        remove(one)


@pytest.fixture
def foreign(libvirt: Driver, names: Callable[[str], str]) -> Callable[..., str]:
    """Define and start somebody else's guest, paused; answers its name."""

    def start(what: str = "foreign", **options: object) -> str:
        name = names(what)
        libvirt.define(tiny_xml(name, **options), name=name)  # type: ignore[arg-type]
        libvirt.start(name, paused=True)
        return name

    return start


@pytest.fixture
def interrupts() -> Iterator[dict[int, str]]:
    """Where this machine's interrupts may land; whatever happens, they may do so afterwards.  One test at a time."""
    with Path(tempfile.gettempdir(), "cellwright-tests-interrupts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, default = allowed(Root()), Root().line(DEFAULT) or ""
        yield before
        put_back(before, default)
