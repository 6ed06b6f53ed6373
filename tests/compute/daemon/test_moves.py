"""Moves with a real agent: the old host holds its claim while the guest is there, and what stays is proven again."""

from collections.abc import Callable, Iterator

import pytest

from tests.compute.daemon.running import HOST, AgentProcess, domain_state, instance, wait_for, wait_status
from tests.compute.daemon.test_agent import give
from tests.compute.guests import virsh
from tests.scheduler.conftest import Service

Agents = Callable[..., AgentProcess]
Names = Callable[[str], str]


@pytest.fixture
def elsewhere(service: Service) -> Iterator[str]:
    """A host without an agent to move to."""
    name = "elsewhere"
    added = service.run("host", "add", name, "--synthetic", "cell:1 core:8 memory:16GiB")
    assert added.returncode == 0, added.stderr
    yield name
    service.run("host", "delete", name)


def test_a_migrated_guest_holds_its_old_host_until_it_is_gone_from_there(
    service: Service, agents: Agents, names: Names, elsewhere: str
) -> None:
    name = names("mover")
    agent = agents()
    agent.start()
    agent.wait_up()
    service.run("host", "disable", elsewhere)
    give(service, name)
    wait_status(service, name, "ACTIVE")
    service.run("host", "enable", elsewhere)
    agent.stop()
    moved = service.json("instance", "migrate", name, "--host", elsewhere)
    assert (moved["host"], moved["leaving"]) == (elsewhere, HOST)
    assert agent.host()["leaving"] == 1
    assert domain_state(name) == "running"
    agent.start()
    wait_for(f"{name} has left\n{agent.log()}", lambda: instance(service, name)["leaving"] == "")
    assert domain_state(name) == ""
    assert agent.host()["leaving"] == 0
    assert service.run("instance", "delete", name).returncode == 0


def test_a_guest_deleted_while_it_moves_leaves_no_orphan(
    service: Service, agents: Agents, names: Names, elsewhere: str
) -> None:
    name = names("orphan")
    agent = agents()
    agent.start()
    agent.wait_up()
    service.run("host", "disable", elsewhere)
    give(service, name)
    wait_status(service, name, "ACTIVE")
    service.run("host", "enable", elsewhere)
    agent.stop()
    service.json("instance", "migrate", name, "--host", elsewhere)
    assert service.run("instance", "delete", name).returncode == 0
    assert instance(service, name)["status"] == "DELETING"
    agent.start()
    wait_for(f"the instance is gone\n{agent.log()}", lambda: not instance(service, name))
    assert domain_state(name) == ""


def test_a_guest_that_is_placed_where_it_runs_is_proven_and_runs_on(
    service: Service, agents: Agents, names: Names
) -> None:
    name = names("same")
    agent = agents()
    agent.start()
    agent.wait_up()
    give(service, name)
    wait_status(service, name, "ACTIVE")
    before = virsh("domid", name)
    assert service.json("instance", "resize", name, "--flavor", "float")["status"] == "BUILDING"
    wait_status(service, name, "ACTIVE")
    assert virsh("domid", name) == before
    assert service.run("instance", "delete", name).returncode == 0
    wait_for("the instance is gone", lambda: not instance(service, name))
