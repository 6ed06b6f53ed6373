"""The agent as a process, against a real scheduler and a real libvirtd."""

from collections.abc import Callable
from pathlib import Path

from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet
from agent.domain.ownership import read_instance
from tests.compute.daemon.running import AgentProcess, domain_state, instance, wait_for, wait_status
from tests.compute.guests import threads_of, virsh
from tests.compute.placements import SECOND
from tests.scheduler.conftest import Service

Agents = Callable[..., AgentProcess]
Names = Callable[[str], str]


def give(service: Service, name: str, flavor: str = "float") -> str:
    """A new instance; answers its id.  Others on this machine may own its few pCPUs for a while: that is waited for."""

    def ask() -> str:
        made = service.json("instance", "create", "--flavor", flavor, name)
        made = made[0] if isinstance(made, list) else made
        said.append(made["reason"])
        if made["status"] != "SCHEDULED":
            service.run("instance", "delete", name)
            return ""
        return str(made["id"])

    said: list[str] = []
    return wait_for(f"room for {name}: {said}", ask)


def test_an_assignment_becomes_a_verified_guest_and_goes_again(
    service: Service, agents: Agents, names: Names, libvirt: Driver
) -> None:
    name = names("life")
    agent = agents()
    agent.start()
    agent.wait_up()
    made = give(service, name)
    wait_status(service, name, "ACTIVE")
    assert domain_state(name) == "running"
    assert libvirt.domain(name).uuid == made
    assert read_instance(libvirt.xml(name)) == made
    virsh("destroy", name)
    wait_for("the log names the guest that was stopped", lambda: f"domain {name} is not running" in agent.log())
    assert service.run("instance", "delete", name).returncode == 0
    wait_for("the instance is gone", lambda: not instance(service, name))
    assert domain_state(name) == ""
    assert agent.stop() == 0
    assert "guests run on" in agent.log()


def test_it_keeps_itself_off_the_dedicated_pcpus(agents: Agents) -> None:
    agent = agents()
    agent.config.write_text(agent.config.read_text().replace("[host]", f'[host]\ncpu_dedicated_set = "{SECOND}"'))
    agent.start()
    agent.wait_up()
    assert agent.process is not None
    pid = agent.process.pid
    others = CpuSet.parse(Path("/sys/devices/system/cpu/online").read_text().strip()) - CpuSet([SECOND])

    def masks() -> set[str]:
        return {str(thread.allowed) for thread in threads_of(pid)}

    wait_for(f"every thread is on {others}", lambda: masks() == {str(others)})
