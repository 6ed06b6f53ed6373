"""The packaged agent under systemd on two cells: a request outside becomes a proven guest inside, and remains one.

The tests are one host's life in the order in which they stand: one guest goes through all of them.
"""

import json
from collections.abc import Iterator

import pytest

from tests.lab.cluster import AUDIT, UNIT, Cluster
from tests.lab.guests import Guest, check_no_qemu, parse_cpus, read_siblings
from tests.lab.machine import Machine
from tests.scheduler.conftest import Service

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)

FLAVORS = (("pair", "2", "hw:cpu_policy=dedicated", "cw:emulator_sched=fifo:1"), ("float", "1", "hw:cpu_policy=shared"))


@pytest.fixture(scope="module")
def alone(lab: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The agent runs; the scheduler gave it a token and is away since."""
    service = Service(tmp_path_factory.mktemp("scheduler"))
    service.start()
    cluster = Cluster(lab, service)
    try:
        for name, vcpus, *specs in FLAVORS:
            words = [word for spec in specs for word in ("--property", spec)]
            assert service.run("flavor", "create", name, "--vcpus", vcpus, "--ram", "128", *words).returncode == 0
        cluster.install()
        service.stop()
        yield cluster
    finally:
        service.stop(kill=True)
        cluster.remove()


@pytest.fixture(scope="module")
def cluster(alone: Cluster) -> Cluster:
    """The scheduler is there, and knows the host."""
    alone.lab.connect()
    alone.service.start()
    alone.wait_up()
    return alone


@pytest.fixture(scope="module")
def guest(cluster: Cluster) -> Guest:
    """A guest with two pCPUs of its own, asked for outside."""
    cluster.request("db", "pair")
    return cluster.wait_active("db")


def check_unharmed(cluster: Cluster, guest: Guest) -> None:
    """The guest has its pCPUs, inside and in the scheduler's book, and the unit has nothing to complain of."""
    cluster.wait("the vCPUs are where they were placed", lambda: guest.read_vcpus() == pins(guest))
    cluster.wait("all is as placed", lambda: "all masks as placed" in cluster.status())
    cluster.wait_up()
    found = cluster.instance("db")
    assert (found["status"], found["placement"]) == ("ACTIVE", guest.placement)


def pins(guest: Guest) -> dict[int, set[int]]:
    return {int(vcpu): parse_cpus(pin) for cell in guest.placement["cells"] for vcpu, pin in cell["pins"].items()}


def test_it_runs_and_its_status_makes_sense(alone: Cluster) -> None:
    assert alone.show("ActiveState") == "active"
    alone.wait("the status says that nobody answers", lambda: "does not answer" in alone.status())  # the agent lives on
    said = alone.lab.run("systemctl", "status", UNIT).stdout
    assert "0 guests, 0 of them the scheduler's" in said
    assert "cellwright-agent.service; enabled" in said
    assert alone.lab.run("id", "cellwright").stdout


def test_the_journal_has_priorities(alone: Cluster) -> None:
    alone.wait_logged("does not answer")
    lines = [json.loads(line) for line in alone.journal("-o", "json")]
    away = [line for line in lines if "does not answer" in line["MESSAGE"]]
    assert len(away) == 1  # once, however often it was tried
    assert (away[0]["PRIORITY"], away[0]["_SYSTEMD_UNIT"]) == ("5", f"{UNIT}.service")
    assert not away[0]["MESSAGE"].startswith("<")


def test_the_host_reports_its_two_cells(cluster: Cluster) -> None:
    found = cluster.host()
    assert (found["cells"], found["pinned"], found["instances"]) == (2, "0/8", 0)
    cluster.wait_logged("the scheduler takes our reports again")


def test_a_request_outside_is_a_proven_guest_inside(cluster: Cluster, guest: Guest) -> None:
    assert guest.read_vcpus() == pins(guest)
    cpus = set().union(*pins(guest).values())
    assert read_siblings(cluster.lab, min(cpus)) == cpus
    assert guest.verify()["proven"]
    assert cluster.host()["pinned"] == "2/8"
    cluster.wait("the status counts it", lambda: "1 guests, 1 of them the scheduler's" in cluster.status())
    cluster.wait_logged("domain db of instance", "-p", "notice")


def test_a_pcpu_goes_offline_under_the_guest(cluster: Cluster, guest: Guest) -> None:
    """Named by its cause, told to the scheduler, and put right when the pCPU is back; the guest runs all the time."""
    pid, cpu = guest.pid, min(cpu for cpus in pins(guest).values() for cpu in cpus if cpu)
    online = f"/sys/devices/system/cpu/cpu{cpu}/online"
    cluster.lab.shell(f"echo 0 >{online}")
    try:
        cluster.wait_logged(f"pCPU {cpu} is offline")
        cluster.wait("the scheduler knows", lambda: cluster.host()["pinned"].endswith("/7"))
        assert cluster.instance("db")["status"] == "ACTIVE"
    finally:
        cluster.lab.shell(f"echo 1 >{online}")
    cluster.wait("the scheduler knows", lambda: cluster.host()["pinned"] == "2/8")
    check_unharmed(cluster, guest)
    assert guest.pid == pid


def disturb(cluster: Cluster, script: str) -> None:
    """Change something about a guest's threads, and wait until the agent saw it, mended it, and saw that it is well.

    Who disturbs a repair that is still under way is rightly told that something set it back at once.
    """
    begin = len(cluster.journal())
    cluster.lab.shell(script)

    def is_over() -> bool:
        lines = [line.partition("; cause: ")[0].partition(": ") for line in cluster.journal()[begin:]]
        appeared, cleared = (
            {what for said, _, what in lines if said == f"drift {word}"} for word in ("appeared", "cleared")
        )
        return bool(appeared) and appeared <= cleared

    cluster.wait(f"all that drifted is put back after: {script}", is_over)
    assert [line for line in cluster.journal()[begin:] if "repair:" in line and ": repaired" not in line] == []


def test_the_unit_may_put_back_what_others_changed(cluster: Cluster, guest: Guest) -> None:
    """Its few rights suffice: for the cpuset of the guest's scope, for a mask, and for a real-time class."""
    cpu, emulator = min(min(cpus) for cpus in pins(guest).values()), parse_cpus(guest.placement["emulator"])
    disturb(cluster, f"echo {cpu} >$(echo /sys/fs/cgroup/machine.slice/machine-qemu*db.scope/cpuset.cpus)")
    assert (guest.read_others(), guest.read_vcpus()) == (emulator, pins(guest))
    disturb(cluster, f"taskset -p -c {cpu} {guest.pid}")
    assert guest.read_others() == emulator
    disturb(cluster, f"chrt --other -p 0 {guest.pid}")
    assert "SCHED_FIFO" in cluster.lab.run("chrt", "-p", str(guest.pid)).stdout
    check_unharmed(cluster, guest)


def test_the_clock_jumps_and_the_audit_comes_due(cluster: Cluster, guest: Guest) -> None:
    """Two days ahead, four back: nobody expires, restarts or floods the journal; the hourly audit runs and passes."""
    before = cluster.show("MainPID"), cluster.show("NRestarts"), guest.pid
    cluster.lab.run("systemctl", "start", f"{AUDIT}.timer")
    lines = len(cluster.journal())
    try:
        cluster.lab.run("date", "-s", "+2 days")
        cluster.wait("the audit ran", lambda: cluster.show("ExecMainExitTimestampMonotonic", AUDIT) != "0")
        assert (cluster.show("Result", AUDIT), cluster.show("ExecMainStatus", AUDIT)) == ("success", "0")
        cluster.lab.run("date", "-s", "-4 days")
        check_unharmed(cluster, guest)
    finally:
        cluster.lab.set_clock()
        cluster.lab.run("systemctl", "stop", f"{AUDIT}.timer")
    slow = ("scheduler", "pull:")  # what is said when it answers late, and when it answers again
    said = [line for line in cluster.journal()[lines:] if not any(word in line for word in slow)]
    assert len(said) <= 2, said
    assert (cluster.show("MainPID"), cluster.show("NRestarts"), guest.pid) == before


def test_libvirtd_is_killed_in_the_middle_of_a_define(cluster: Cluster, guest: Guest) -> None:
    """libvirtd stands still in the very write of the domain's file, because that is a pipe which nobody reads."""
    pid, file = guest.pid, "/etc/libvirt/qemu/second.xml.new"
    waiting = "cat /proc/$(cat /run/libvirtd.pid)/task/*/wchan || true"
    cluster.lab.run("mkfifo", file)
    cluster.request("second", "float")
    try:
        cluster.wait("libvirtd is in the middle", lambda: "wait_for_partner" in cluster.lab.shell(waiting).stdout)
    finally:
        cluster.lab.run("rm", file)
    cluster.lab.run("systemctl", "kill", "-s", "KILL", "libvirtd.service")
    second = cluster.wait_active("second")
    assert second.pid
    cluster.delete("second")
    assert guest.pid == pid
    check_unharmed(cluster, guest)
    assert cluster.lab.run("virsh", "-q", "list", "--all", "--name").stdout.split() == ["db"]
    begun = "grep -l '\"begun\"' /var/lib/cellwright/journal/*.json"
    cluster.wait("nothing is half done", lambda: cluster.lab.shell(begun, status=None).status == 1)


def test_a_frozen_agent_is_killed_and_started_again(cluster: Cluster, guest: Guest) -> None:
    before, restarts, pid = cluster.show("MainPID"), int(cluster.show("NRestarts")), guest.pid
    cluster.lab.run("kill", "-STOP", before)
    cluster.wait(
        "another one is ready",
        lambda: cluster.show("MainPID") not in (before, "0") and cluster.show("ActiveState") == "active",
    )
    assert int(cluster.show("NRestarts")) == restarts + 1
    assert guest.pid == pid
    check_unharmed(cluster, guest)


def test_the_host_reboots(cluster: Cluster, guest: Guest) -> None:
    """The agent comes back by itself, starts what ran before it hears of anybody, and the claims never went away."""
    before = cluster.lab.read("/proc/sys/kernel/random/boot_id"), cluster.host()["pinned"]
    cluster.lab.reboot()
    cluster.wait(
        "the guest runs", lambda: cluster.lab.run("virsh", "domstate", "db", status=None).stdout.strip() == "running"
    )
    cluster.lab.connect()
    cluster.wait_up()
    assert cluster.lab.read("/proc/sys/kernel/random/boot_id") != before[0]
    assert cluster.host()["pinned"] == before[1]
    check_unharmed(cluster, guest)
    assert guest.verify()["ok"]


def test_deleted_outside_is_gone_inside(cluster: Cluster, guest: Guest) -> None:
    cluster.delete(guest.name)
    check_no_qemu(cluster.lab)
    assert cluster.host()["pinned"] == "0/8"


def test_stopping_it_is_clean(alone: Cluster) -> None:
    alone.lab.run("systemctl", "stop", UNIT)
    assert alone.show("Result") == "success"
    alone.wait_logged("stopped; guests run on")
