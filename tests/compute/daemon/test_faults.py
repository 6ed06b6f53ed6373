"""What goes wrong, each with what must hold: guests run on, and everything comes right again."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.compute.driver import Driver
from agent.inspection.host import read_host
from tests.compute.daemon.running import HOST, AgentProcess, delete, domain_state, instance, wait_for, wait_status
from tests.compute.daemon.test_agent import Agents, Names, give
from tests.compute.guests import virsh
from tests.scheduler.conftest import Service

STEPS = {
    "before it says that it begins": ("Link.confirm", 1),
    "before the journal knows": ("Journal.begin", 1),
    "before define": ("Driver.define", 1),
    "before the start": ("Driver.start", 1),
    "before it is let run": ("Driver.resume", 1),
    "before the journal knows the end": ("Journal.end", 1),
    "before the scheduler hears": ("Link.confirm", 2),
    "before it is remembered": ("worker.write_agent_state", 2),
}
GOING = {
    "before it is forgotten": ("worker.write_agent_state", 2),
    "before the journal knows": ("Journal.begin", 1),
    "before it is stopped": ("Driver.destroy", 1),
    "before it is undefined": ("Driver.undefine", 1),
    "before the journal knows the end": ("Journal.end", 1),
    "before the scheduler hears": ("Link.confirm", 1),
}


def open_entries(agent: AgentProcess) -> list[str]:
    """Journal entries that nobody ended."""
    texts = [path.read_text() for path in (agent.folder / "state/journal").glob("[0-9]*.json")]
    return [text for text in texts if '"outcome":"begun"' in text]


def test_kill_9_at_every_step_of_an_assignment(service: Service, agents: Agents, names: Names, libvirt: Driver) -> None:
    """One agent dies at each step of building a guest; the next brings it up, and nothing stops it again."""
    agent = agents()
    agent.once()
    built = [names(f"killed-{number}") for number in range(len(STEPS))]
    for name, (sentence, step) in zip(built, STEPS.items(), strict=True):
        made = give(service, name)
        done = agent.once(killed=step)
        assert done.returncode == -signal.SIGKILL, (sentence, done.stderr)
        ran = libvirt.domain(name).pid if domain_state(name) == "running" else None
        agent.once()
        assert (instance(service, name)["status"], domain_state(name)) == ("ACTIVE", "running"), sentence
        assert libvirt.domain(name).uuid == made, sentence
        assert ran in (None, libvirt.domain(name).pid), f"{sentence}: a guest that ran was stopped"
        assert open_entries(agent) == [], sentence
    pids = [libvirt.domain(name).pid for name in built]
    agent.once()
    assert [libvirt.domain(name).pid for name in built] == pids
    for name, (sentence, step) in zip(built, GOING.items(), strict=False):
        service.run("instance", "delete", name)
        done = agent.once(killed=step)
        assert done.returncode == -signal.SIGKILL, (sentence, done.stderr)
        agent.once()
        assert (instance(service, name), domain_state(name)) == ({}, ""), sentence
        assert open_entries(agent) == [], sentence
    for name in built[len(GOING) :]:
        service.run("instance", "delete", name)
    agent.once()


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
    delete(service, name)


@pytest.mark.parametrize(("step", "there"), [("Driver.define", ""), ("Link.confirm", "running")])
def test_scheduler_away_from_the_middle_of_an_assignment(
    service: Service, agents: Agents, names: Names, libvirt: Driver, step: str, there: str
) -> None:
    """It heard that building begins, and goes; so does the agent.  The next one harms nothing and invents nothing."""
    name = names("middle")
    agent = agents()
    agent.once()
    made = give(service, name)
    assert agent.once(killed=(step, 2 if there else 1)).returncode == -signal.SIGKILL
    assert instance(service, name)["status"] == "BUILDING"
    service.stop(kill=True)
    pid = libvirt.domain(name).pid if there else None
    agent.start()
    try:
        wait_for("the log says that the scheduler is away", lambda: "does not answer" in agent.log())
        assert domain_state(name) == there
    finally:
        service.start()
    wait_status(service, name, "ACTIVE")
    assert libvirt.domain(name).uuid == made
    assert pid in (None, libvirt.domain(name).pid)
    delete(service, name)


def test_scheduler_away_from_the_decision_on(service: Service, agents: Agents, names: Names) -> None:
    """Decided, and gone before the agent hears of it: nothing is made until it is back."""
    name = names("whole")
    agent = agents()
    agent.start()
    agent.wait_up()
    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    give(service, name)
    service.stop(kill=True)
    agent.process.send_signal(signal.SIGCONT)
    try:
        wait_for("the log says that the scheduler is away", lambda: "does not answer" in agent.log())
        assert domain_state(name) == ""
    finally:
        service.start()
    wait_status(service, name, "ACTIVE")
    delete(service, name)


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

    wait_for("there is room", decided)
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
    delete(service, name)
    wait_for("the log says that the disk takes it again", lambda: "state file: all is well again" in agent.log())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def is_so(service: Service, query: str) -> bool:
    """Whether the scheduler knows this of the host."""
    words = ("instance", "create", "--flavor", "float", "--hint", f"query={query}", "--dry-run", "x")
    return service.run(*words).returncode == 0


def test_a_full_disk_for_journal_and_state(service: Service, agents: Agents, names: Names, tiny_disk: Path) -> None:
    """What could not be written down first is not done; the word goes back, and the next one fits as soon as it can."""
    agent = agents(more='compute_monitors = ["cpu.virt_driver"]')
    text = agent.config.read_text()
    agent.config.write_text(text.replace(f"{agent.folder}/state", str(tiny_disk)))
    (tiny_disk / "agent.json").write_text((agent.folder / "state/agent.json").read_text())
    filler = tiny_disk / "filler"
    with contextlib.suppress(OSError):
        filler.write_bytes(bytes(1 << 20))
    agent.start()
    agent.wait_up()
    first, second = names("nowhere"), names("again")
    give(service, first)
    found = wait_status(service, first, "ERROR")
    assert "No space left on device" in found["reason"]
    assert domain_state(first) == ""
    wait_for("a failed build is reported", lambda: is_so(service, '["=", "$failed_builds", 1]'))
    assert is_so(service, '["not", ["=", "$metrics", {}]]'), "the load that it was asked for"
    filler.unlink()
    give(service, second)
    wait_status(service, second, "ACTIVE")
    wait_for("it built again", lambda: is_so(service, '["=", "$failed_builds", 0]'))
    delete(service, first)
    delete(service, second)
    agent.stop()


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
        delete(service, name)
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
    other = next(pcpu for pcpu in read_host().online if pcpu != pin)
    virsh("vcpupin", name, "0", str(other), "--live")
    wait_for("the drift is logged with its cause", lambda: "cause: libvirt was told so" in agent.log())
    wait_for("the pin is back", lambda: list(libvirt.vcpu_pins(name)[0]) == [pin])
    wait_for("the repair is logged", lambda: "repaired" in agent.log())
    delete(service, name)
