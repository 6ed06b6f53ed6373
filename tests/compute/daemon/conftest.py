"""A scheduler, its floating flavor, and agents that are always stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compute.daemon.running import AgentProcess
from tests.scheduler.conftest import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("scheduler"))
    made.start()
    for name, more in (("float", ()), ("own", ("--property", "hw:cpu_policy=dedicated"))):
        done = made.run("flavor", "create", name, "--vcpus", "1", "--ram", "64", *more)
        assert done.returncode == 0, done.stderr
    yield made
    made.stop()


@pytest.fixture
def agents(
    libvirt_uri: str, tmp_path: Path, service: Service, names: Callable[[str], str]
) -> Iterator[Callable[..., AgentProcess]]:
    """Make agents, each with a folder of its own; they are stopped before the guests are removed."""
    made: list[AgentProcess] = []

    def make(**options: str) -> AgentProcess:
        folder = tmp_path / f"agent-{len(made)}"
        folder.mkdir()
        made.append(AgentProcess(folder, service, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.stop(kill=True)
