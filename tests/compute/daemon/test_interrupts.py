"""The agent as a process keeps this machine's interrupts off a guest's pCPU, and a later one gives them back."""

from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet
from agent.inspection.files import Root
from tests.compute.daemon.running import wait_for, wait_status
from tests.compute.daemon.test_agent import Agents, Names, give
from tests.compute.kernel_tree import allowed, can_move
from tests.scheduler.conftest import Service


def landing_on(pcpu: int) -> set[int]:
    """Interrupts that may land on a pCPU."""
    return {number for number, cpus in allowed(Root()).items() if pcpu in CpuSet.parse(cpus)}


def test_interrupts_leave_a_guests_pcpu_and_come_back(
    service: Service, agents: Agents, names: Names, libvirt: Driver, interrupts: dict[int, str]
) -> None:
    name = names("quiet")
    movable = {number for number in interrupts if can_move(number)}
    agent = agents(more="irq_steering = true")
    agent.start()
    agent.wait_up()
    give(service, name, "own")
    wait_status(service, name, "ACTIVE")
    (pcpu,) = libvirt.vcpu_pins(name)[0]
    wait_for(f"interrupts leave pCPU {pcpu}\n{agent.log()}", lambda: not landing_on(pcpu) & movable)
    agent.stop(kill=True)
    agent.config.write_text(agent.config.read_text().replace("irq_steering = true", ""))
    agent.start()
    wait_for(f"interrupts are given back\n{agent.log()}", lambda: allowed(Root()) == interrupts)
    wait_for("the log says why", lambda: "irq_steering is off" in agent.log())
    assert service.run("instance", "delete", name).returncode == 0
