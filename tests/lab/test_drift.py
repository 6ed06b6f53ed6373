"""What moves a guest's threads behind Cellwright's back is seen, named, and repaired.

One guest with two vCPUs on a core of the second cell takes it all, one intruder after the other.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.guests import Guest, make_request, parse_cpus, started
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.parametrize("lab", ["2n"], indirect=True)


@pytest.fixture(scope="module")
def guest(lab: Machine) -> Iterator[Guest]:
    with started(lab, make_request("drift", 2, {"hw:cpu_policy": "dedicated"})) as guest:
        yield guest


def findings(guest: Guest) -> list[dict[str, Any]]:
    """What ``cellwright verify --quick`` has to say; exit 4 goes with findings, 0 with none."""
    done = guest.lab.run("cellwright", "verify", guest.name, "--quick", "--format", "json", status=None)
    found: list[dict[str, Any]] = done.json()["guests"][0]["findings"]
    assert done.status == (4 if found else 0), str(done)
    return found


def finding(guest: Guest, role: str) -> dict[str, Any]:
    """The one finding about threads of this role; a worker that was born meanwhile is as the emulator."""
    (found,) = [one for one in findings(guest) if one["role"] == role]
    return found


def own_pcpu(guest: Guest) -> int:
    (cpu,) = parse_cpus(guest.placement["cells"][0]["pins"]["0"])
    return cpu


def repair(guest: Guest) -> str:
    """What ``cellwright repair`` did; afterwards nothing is left to find."""
    said = guest.lab.run("cellwright", "repair", guest.name).stdout
    assert findings(guest) == []
    return said


def test_taskset_on_the_emulator(guest: Guest) -> None:
    cpu = own_pcpu(guest)
    guest.lab.run("taskset", "-p", "-c", str(cpu), str(guest.pid))
    found = finding(guest, "emulator")
    assert (found["code"], found["actual"]) == ("mask-differs", str(cpu))
    assert "taskset" in found["cause"]
    assert "taskset" in repair(guest)
    assert guest.read_others() == parse_cpus(guest.placement["emulator"])


def test_the_cgroup_keeps_taskset_from_moving_a_vcpu(guest: Guest) -> None:
    tid = next(tid for tid, name, _ in guest.read_threads() if name.startswith("CPU 0/"))
    guest.lab.run("taskset", "-p", "-c", "0-7", str(tid))
    assert guest.read_vcpus()[0] == {own_pcpu(guest)}
    assert findings(guest) == []


def test_virsh_vcpupin(guest: Guest) -> None:
    elsewhere = next(iter({0, 7} - parse_cpus(guest.placement["emulator"])))
    guest.lab.run("virsh", "-q", "vcpupin", guest.name, "0", str(elsewhere), "--live")
    assert guest.read_vcpus()[0] == {elsewhere}
    found = finding(guest, "vcpu")
    assert (found["code"], found["number"]) == ("mask-differs", 0)
    assert "virsh" in found["cause"]
    assert "virsh" in repair(guest)
    assert guest.read_vcpus()[0] == {own_pcpu(guest)}


def test_a_pinned_pcpu_goes_offline_and_comes_back(guest: Guest) -> None:
    cpu = own_pcpu(guest)
    online = f"/sys/devices/system/cpu/cpu{cpu}/online"
    guest.lab.shell(f"echo 0 >{online}")
    try:
        wait_until("the kernel has moved the vCPU", lambda: cpu not in guest.read_vcpus()[0])
        found = {(one["role"], one["number"]): one for one in findings(guest)}
        assert found["vcpu", 0]["code"] == "pcpu-offline"
        assert f"pCPU {cpu} is offline" in found["vcpu", 0]["cause"]
        assert "offline" in guest.lab.run("cellwright", "repair", guest.name, status=4).stdout
    finally:
        guest.lab.shell(f"echo 1 >{online}")
    repair(guest)
    assert guest.read_vcpus()[0] == {cpu}


def test_the_audit_fails_while_a_guest_is_not_where_it_was_placed(guest: Guest) -> None:
    audit = "cellwright-audit.service"
    guest.lab.run("taskset", "-p", "-c", str(own_pcpu(guest)), str(guest.pid))
    guest.lab.run("systemctl", "start", audit, status=1)
    assert guest.lab.run("systemctl", "show", "-P", "ExecMainStatus", audit).stdout == "4\n"
    assert audit in guest.lab.run("systemctl", "list-units", "--failed").stdout
    journal = ("journalctl", "-u", audit, "-o", "cat")
    wait_until("the journal has the cause", lambda: "taskset" in guest.lab.run(*journal).stdout)
    repair(guest)
    guest.lab.run("systemctl", "start", audit)
    assert audit not in guest.lab.run("systemctl", "list-units", "--failed").stdout


def test_systemctl_daemon_reload_changes_nothing(guest: Guest) -> None:
    before = guest.read_lasting()
    guest.lab.run("systemctl", "daemon-reload")
    assert guest.read_lasting() == before
    assert findings(guest) == []


def allow(lab: Machine, cpus: str) -> None:
    """Let the slice of all guests have these pCPUs; systemd answers first and writes then."""
    lab.run("systemctl", "set-property", "--runtime", "machine.slice", f"AllowedCPUs={cpus}")
    has = "/sys/fs/cgroup/machine.slice/cpuset.cpus.effective"
    wait_until(f"machine.slice has pCPUs {cpus}", lambda: lab.read(has).strip() == cpus)


def test_a_slice_that_shuts_the_guest_out(guest: Guest) -> None:
    others = {4: "0-3", 5: "0-3", 6: "0-3", 7: "0-3"}.get(own_pcpu(guest), "4-7")
    allow(guest.lab, others)
    try:
        found = findings(guest)
        assert {one["role"] for one in found} >= {"vcpu", "emulator"}
        assert all("/machine.slice" in one["cause"] and "systemd" in one["cause"] for one in found)
        guest.lab.run("systemctl", "set-property", "--runtime", "machine.slice", "AllowedCPUs=")
        said = guest.lab.run("cellwright", "repair", guest.name, status=4).stdout
        assert f"/machine.slice allows {others} alone" in said
        assert "systemctl set-property --runtime 'machine.slice' AllowedCPUs=0-7" in said
        assert "an emptied AllowedCPUs= is not enough" in said
    finally:
        allow(guest.lab, "0-7")
    assert findings(guest) == []


def test_a_scope_that_was_narrowed_is_the_guest_s_own_and_widened_again(guest: Guest) -> None:
    cpu = own_pcpu(guest)
    scope = f"/sys/fs/cgroup/machine.slice/machine-qemu*{guest.name}.scope/cpuset.cpus"
    guest.lab.shell(f"echo {cpu} >$(echo {scope})")
    assert guest.read_others() == {cpu}
    assert all("scope allows pCPU" in one["cause"] for one in findings(guest))
    repair(guest)
    assert guest.read_others() == parse_cpus(guest.placement["emulator"])
    guest.lab.run("cellwright", "undo")
    assert guest.read_others() == {cpu}
    repair(guest)


def test_chrt_on_a_vcpu(guest: Guest) -> None:
    tid = next(tid for tid, name, _ in guest.read_threads() if name.startswith("CPU 0/"))
    guest.lab.run("chrt", "--fifo", "-p", "7", str(tid))
    found = finding(guest, "vcpu")
    assert (found["code"], found["expected"], found["actual"]) == ("scheduler-differs", "other 0", "fifo 7")
    repair(guest)
    assert "SCHED_OTHER" in guest.lab.run("chrt", "-p", str(tid)).stdout


def test_a_restart_of_libvirtd_leaves_the_guest_proven(guest: Guest) -> None:
    guest.lab.run("systemctl", "restart", "libvirtd.service")
    assert guest.verify()["proven"]
