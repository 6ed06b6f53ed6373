"""The packaged agent and the host itself: idle dedicated pCPUs sleep and interrupts leave a guest's pCPU, for real.

There is no scheduler: guests are defined with virsh, and the agent follows libvirt's events.
"""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.lab.guests import parse_cpus
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

DROP_INS = "/etc/systemd/system/cellwright-agent.service.d"
DROP_IN = f"{DROP_INS}/lab.conf"
SETTINGS = """[host]
cpu_dedicated_set = "2-3,6-7"
cpu_shared_set = "0-1,4-5"
[agent]
topology_interval_s = 10
irq_steering = {on}
cpu_power_management = {on}
"""
GUEST = """<domain type='qemu'><name>upkeep</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<cputune><vcpupin vcpu='0' cpuset='6'/><emulatorpin cpuset='0-1'/></cputune>
<os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='rom'>/usr/share/lab/halt.bin</loader></os>
<devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


@pytest.fixture(scope="module")
def agent(lab: Machine) -> Iterator[Machine]:
    """The unit with the drop-in that comes with it, and a guest's definition at hand."""
    lab.shell(f"mkdir -p {DROP_INS} && cp /usr/share/cellwright/systemd/agent-host.conf {DROP_INS}/host.conf")
    lab.shell("systemd-sysusers cellwright.conf && systemd-tmpfiles --create cellwright.conf")
    lab.write("/etc/cellwright/cellwright.toml", SETTINGS.format(on="true"))
    lab.write("/run/upkeep.xml", GUEST)
    lab.write(DROP_IN, "[Service]\nTimeoutStartSec=infinity\n")
    lab.shell(MOVABLE)
    lab.shell("systemctl daemon-reload && systemctl start cellwright-agent")
    yield lab
    lab.shell("virsh destroy upkeep; virsh undefine upkeep", status=None)
    lab.shell(f"systemctl stop cellwright-agent; rm -r {DROP_INS}/host.conf {DROP_IN} /etc/cellwright/cellwright.toml")
    lab.shell("rm -rf /var/lib/cellwright/journal; systemctl daemon-reload")


def online(lab: Machine) -> set[int]:
    return parse_cpus(lab.read("/sys/devices/system/cpu/online"))


MOVABLE = """for number in $(sed -n 's/^ *\\([0-9]*\\):.*/\\1/p' /proc/interrupts); do
  file=/proc/irq/$number/smp_affinity_list; now=$(cat $file); echo $now >$file && echo $number
done 2>/dev/null >/run/movable; test -s /run/movable"""
"""The interrupts in use whose file takes what it has: such the kernel moves.  Asked before the agent moves any."""


def interrupted(lab: Machine) -> set[int]:
    """Every pCPU that an interrupt which can be moved may land on."""
    lines = lab.shell("for number in $(cat /run/movable); do cat /proc/irq/$number/smp_affinity_list; done").stdout
    return set().union(*(parse_cpus(line) for line in lines.split()))


def journal(lab: Machine) -> str:
    return lab.run("journalctl", "-u", "cellwright-agent", "-o", "cat").stdout


def undone(lab: Machine) -> dict[str, str]:
    """The last line of ``cellwright undo --list`` about each verb."""
    return {line.split()[2]: line for line in lab.run("cellwright", "undo", "--list").stdout.splitlines()[1:]}


def wait(lab: Machine, what: str, ask: Callable[[], bool]) -> None:
    def told() -> str:
        irqs = lab.shell("grep . /proc/irq/*/smp_affinity_list; cat /proc/interrupts", status=None).stdout
        return f"{journal(lab)[-3000:]}\n{irqs}"

    wait_until(what, ask, told=told)


def test_idle_dedicated_pcpus_sleep(agent: Machine) -> None:
    wait(agent, "the dedicated pCPUs sleep", lambda: online(agent) == {0, 1, 4, 5})


def test_the_commands_live_with_sleeping_pcpus(agent: Machine) -> None:
    done = agent.run("cellwright", "doctor", status=None)
    assert done.status in (0, 4), str(done)
    agent.run("cellwright", "config", "check")
    assert "(host)" in agent.run("cellwright", "undo", "--list").stdout


def test_a_defined_guest_wakes_its_pcpu_and_a_running_one_is_left_alone_by_interrupts(agent: Machine) -> None:
    agent.shell("virsh define /run/upkeep.xml")
    wait(agent, "pCPU 6 wakes", lambda: 6 in online(agent))
    agent.shell("virsh start upkeep")
    wait(agent, "interrupts leave pCPU 6", lambda: 6 not in interrupted(agent))
    assert interrupted(agent)
    wait(agent, "the others sleep", lambda: online(agent) == {0, 1, 4, 5, 6})


def test_a_killed_agent_goes_on_where_it_was(agent: Machine) -> None:
    show = ("systemctl", "show", "-P", "MainPID", "-P", "ActiveState", "cellwright-agent")
    before = agent.run(*show).stdout
    agent.shell("systemctl kill -s KILL cellwright-agent")
    wait(agent, "another one runs", lambda: (now := agent.run(*show).stdout) != before and "active" in now.split())
    wait(agent, "the others sleep again", lambda: online(agent) == {0, 1, 4, 5, 6})
    wait(agent, "interrupts leave pCPU 6", lambda: 6 not in interrupted(agent))
    entries = agent.run("cellwright", "undo", "--list").stdout.splitlines()
    assert sum("irq-steering" in line for line in entries) == 1  # the same entry still


def test_what_somebody_else_moves_is_noticed_and_moved_again(agent: Machine) -> None:
    number = agent.shell("sed -n 's/^ *\\([0-9]*\\):.* virtio[0-9]*-config$/\\1/p' /proc/interrupts").stdout.split()[-1]
    agent.shell(f"echo 6 >/proc/irq/{number}/smp_affinity_list")
    wait(agent, "it is moved off again", lambda: 6 not in interrupted(agent))
    wait(agent, "the journal says which", lambda: f"IRQ {number} (" in journal(agent))
    moved = ("journalctl", "-o", "json", "CELLWRIGHT_CHECK=irq-moved")
    why = "somebody wrote its smp_affinity"
    wait(agent, "the journal says why", lambda: why in agent.run(*moved).stdout)
    entry = next(json.loads(line) for line in agent.run(*moved).stdout.splitlines() if why in line)
    assert (entry["CELLWRIGHT_CAUSE"], entry["PRIORITY"]) == (why, "5")
    assert (entry["_SYSTEMD_UNIT"], len(entry["MESSAGE_ID"])) == ("cellwright-agent.service", 32)


def test_a_guest_that_goes_gives_everything_back(agent: Machine) -> None:
    agent.shell("virsh destroy upkeep && virsh undefine upkeep")
    wait(agent, "its pCPU sleeps again", lambda: online(agent) == {0, 1, 4, 5})


def test_switched_off_all_is_as_it_was(agent: Machine) -> None:
    agent.write("/etc/cellwright/cellwright.toml", SETTINGS.format(on="false"))
    agent.shell("systemctl reload cellwright-agent")
    wait(agent, "all pCPUs run", lambda: online(agent) == set(range(8)))
    wait(agent, "interrupts may go anywhere", lambda: interrupted(agent) >= {2, 6})
    for verb in ("irq-steering", "cpu-power"):
        wait(agent, f"{verb} is undone", lambda verb=verb: "undone" in undone(agent)[verb])


def test_governors_do_nothing_where_there_is_no_cpufreq(agent: Machine) -> None:
    """As under emulation, so that governors themselves are tried in tests/compute/daemon/test_idle_pcpus.py alone."""
    agent.write(
        "/etc/cellwright/cellwright.toml", SETTINGS.format(on="true") + 'cpu_power_management_strategy = "governor"\n'
    )
    agent.shell("systemctl reload cellwright-agent")
    wait(agent, "the agent says so", lambda: "no cpufreq driver" in journal(agent))
    assert online(agent) == set(range(8))


def test_an_agent_that_ends_wakes_what_sleeps(agent: Machine) -> None:
    agent.write("/etc/cellwright/cellwright.toml", SETTINGS.format(on="true"))
    agent.shell("systemctl reload cellwright-agent")
    wait(agent, "they sleep again", lambda: online(agent) == {0, 1, 4, 5})
    agent.run("systemctl", "stop", "cellwright-agent")
    assert online(agent) == set(range(8))
    assert json.loads(agent.run("cellwright", "topology", "--format", "json").stdout)["offline"] == ""
