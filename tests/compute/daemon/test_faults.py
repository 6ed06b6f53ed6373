"""What goes wrong, each with what must hold: guests run on, and everything comes right again."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.compute.driver import Driver
from tests.compute.daemon.running import HOST, AgentProcess, domain_state, instance, wait_for, wait_status
from tests.compute.daemon.test_agent import Agents, Names, give
from tests.compute.guests import virsh
from tests.scheduler.conftest import Service


def journal_has_begun(agent: AgentProcess) -> bool:
    return bool(list((agent.folder / "state/journal").glob("[0-9]*.json")))


STEPS: dict[str, Callable[[AgentProcess, str], bool]] = {
    "written down": lambda agent, name: journal_has_begun(agent),
    "defined": lambda agent, name: domain_state(name) != "",
    "started": lambda agent, name: domain_state(name) in ("paused", "running"),
}


@pytest.mark.parametrize("step", STEPS)
def test_kill_9_in_the_middle_of_an_assignment(
    service: Service, agents: Agents, names: Names, libvirt: Driver, step: str
) -> None:
    name = names("killed-" + step.split()[0])
    agent = agents()
    agent.start()
    agent.wait_up()
    made = give(service, name)
    wait_for(f"the guest is {step}", lambda: STEPS[step](agent, name))
    agent.stop(kill=True)
    agent.start()
    wait_status(service, name, "ACTIVE")
    assert libvirt.domain(name).uuid == made
    assert domain_state(name) == "running"
    service.run("instance", "delete", name)
    wait_for("the instance is gone", lambda: not instance(service, name))


def test_scheduler_down_and_back(service: Service, agents: Agents, names: Names, libvirt: Driver) -> None:
    name = names("down")
    agent = agents()
    agent.start()
    agent.wait_up()
    give(service, name)
    wait_status(service, name, "ACTIVE")
    pid = libvirt.domain(name).pid
    service.stop(kill=True)
    wait_for("the log says that the scheduler is away", lambda: "does not answer" in agent.log())
    assert agent.stop() == 0
    agent.start()  # knows nothing but its state file and its domains
    time.sleep(2)
    service.start()
    wait_for("the agent is back", lambda: agent.host().get("state") == "up" or None)
    wait_for("the log says so", lambda: "takes our reports again" in agent.log())
    assert (libvirt.domain(name).pid, instance(service, name)["status"]) == (pid, "ACTIVE")
    service.run("instance", "delete", name)
    wait_for("the instance is gone", lambda: not instance(service, name))


def test_refused_when_the_host_changed(
    service: Service, agents: Agents, names: Names, foreign: Callable[..., str]
) -> None:
    """Between decision and deed a foreign guest took the very pCPU."""
    name = names("late")
    agent = agents()
    agent.start()
    agent.wait_up()
    assert agent.process is not None

    def decided() -> bool:
        """The scheduler has decided while the agent stands still; with no pCPU free yet it is let on."""
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        service.run("instance", "create", "--flavor", "own", name)
        if instance(service, name)["status"] == "SCHEDULED":
            return True
        service.run("instance", "delete", name)
        agent.process.send_signal(signal.SIGCONT)
        time.sleep(2)
        return False

    wait_for("there is room", decided, limit_s=90)
    pcpu = instance(service, name)["placement"]["cells"][0]["pins"]["0"]
    other = foreign("taker", vcpus=1, extra=f"<cputune><vcpupin vcpu='0' cpuset='{pcpu}'/></cputune>")
    agent.process.send_signal(signal.SIGCONT)
    found = wait_status(service, name, "ERROR")
    assert other in found["reason"]
    assert domain_state(name) == ""
    assert domain_state(other) == "paused"
    service.run("instance", "delete", name)


def test_a_wrong_token_and_another_hosts(service: Service, agents: Agents) -> None:
    agent = agents()
    for token, word in (
        ("nonsense", "does not take this token"),
        (service.run("host", "token", "other").stdout.strip(), "speaks for that host only"),
    ):
        (agent.folder / "agent.token").write_text(token)
        done = subprocess.run(agent.command("--once"), capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2)
        assert word in done.stderr
    agent.start()
    wait_for("the service logs it and lives on", lambda: "speaks for that host only" in agent.log())
    assert agent.process is not None
    assert agent.process.poll() is None


def test_two_agents_of_one_host_name(service: Service, agents: Agents) -> None:
    first, second = agents(), agents(id="another")
    token = service.run("host", "token", HOST).stdout
    for agent in (first, second):
        (agent.folder / "agent.token").write_text(token)
    first.start()
    wait_for("the first is heard", lambda: first.host().get("state") == "up")
    second.start()
    wait_for("the second is told", lambda: "two hosts of one name" in second.log())
    assert first.host()["state"] == "up"
    assert "two hosts of one name" not in first.log()


def test_a_full_disk_for_the_state_file(service: Service, agents: Agents, names: Names) -> None:
    name = names("full")
    agent = agents()
    (agent.folder / "state/agent.draft").symlink_to("/dev/full")
    agent.start()
    agent.wait_up()
    give(service, name)
    wait_status(service, name, "ACTIVE")
    assert agent.log().count("No space left on device") == 1
    (agent.folder / "state/agent.draft").unlink()
    service.run("instance", "delete", name)
    wait_for("the instance is gone", lambda: not instance(service, name))
    wait_for("the log says that the disk takes it again", lambda: "state file: all is well again" in agent.log())


def test_a_scheduler_that_forgot_everything_stops_nothing(
    service: Service, agents: Agents, names: Names, tmp_path: Path
) -> None:
    name = names("orphan")
    agent = agents()
    agent.start()
    agent.wait_up()
    give(service, name)
    wait_status(service, name, "ACTIVE")
    agent.stop()
    (tmp_path / "other").mkdir()
    other = Service(tmp_path / "other")
    other.start()
    try:
        newcomer = AgentProcess(agent.folder, other)
        newcomer.start()
        try:
            wait_for("the log says that it is left alone", lambda: "does not list: left alone" in newcomer.log())
            assert domain_state(name) == "running"
        finally:
            newcomer.stop()
    finally:
        other.stop()
    again = AgentProcess(agent.folder, service)
    again.start()
    try:
        again.wait_up()
        service.run("instance", "delete", name)
        wait_for("the instance is gone", lambda: not instance(service, name))
        assert domain_state(name) == ""
    finally:
        again.stop()


def test_drift_is_logged_with_its_cause_and_repaired(
    service: Service, agents: Agents, names: Names, libvirt: Driver
) -> None:
    name = names("drift")
    agent = agents(more="repair = true")
    agent.start()
    agent.wait_up()
    give(service, name, "own")
    wait_status(service, name, "ACTIVE")
    (pin,) = libvirt.vcpu_pins(name)[0]
    virsh("vcpupin", name, "0", str(1 - pin), "--live")
    wait_for("the drift is logged with its cause", lambda: "cause: libvirt was told so" in agent.log())
    wait_for("the pin is back", lambda: list(libvirt.vcpu_pins(name)[0]) == [pin])
    wait_for("the repair is logged", lambda: "repaired" in agent.log())
    service.run("instance", "delete", name)
    wait_for("the instance is gone", lambda: not instance(service, name))
