"""On a host with cgroups of version 1 a pCPU that went offline is lost to the guest when it comes back.

There the kernel takes the pCPU out of every cpuset and never puts it back; version 2 remembers what was asked for.
"""

import pytest

from tests.lab.guests import make_request, parse_cpus, started
from tests.lab.machine import Machine
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.parametrize("lab", ["2n-cgroup1"], indirect=True)


def test_a_pcpu_that_came_back_is_drift_until_it_is_repaired(lab: Machine) -> None:
    with started(lab, make_request("old", 2, {"hw:cpu_policy": "dedicated"})) as guest:
        (cpu,) = parse_cpus(guest.placement["cells"][0]["pins"]["0"])
        assert guest.read_vcpus()[0] == {cpu}
        assert guest.verify()["proven"]
        online = f"/sys/devices/system/cpu/cpu{cpu}/online"
        lab.shell(f"echo 0 >{online}")
        wait_until("the kernel has moved the vCPU", lambda: guest.read_vcpus()[0] != {cpu})
        lab.shell(f"echo 1 >{online}")
        assert guest.read_vcpus()[0] != {cpu}
        causes = {finding["role"]: finding["cause"] for finding in guest.verify(status=4)["findings"]}
        assert "went offline and came back" in causes["vcpu"]
        assert "cpuset" in causes["emulator"]
        lab.run("cellwright", "repair", "old")
        assert guest.read_vcpus()[0] == {cpu}
        assert guest.verify()["ok"]
        lab.run("cellwright", "undo")
        assert guest.read_vcpus()[0] != {cpu}
        lab.run("cellwright", "repair", "old")
        assert guest.verify()["ok"]
