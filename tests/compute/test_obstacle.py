"""What is said of cpusets above a guest that are too narrow, on the hosts where it was met."""

import pytest

from agent.compute.obstacle import describe_obstacle
from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup, HostObservation, ObservedGuest, ObservedThread, Role
from agent.verification.expectation import Expectation
from tests.compute.test_start import on_two_cells

OLD = {"/machine.slice": "0,2-7", "/machine.slice/g.scope": "0,2-7", "/machine.slice/g.scope/libvirt": "0,2-7"}
BASE = "/sys/fs/cgroup/cpuset/machine.slice"


@pytest.mark.parametrize(
    ("version", "cpusets", "said"),
    [
        pytest.param(2, {"/machine.slice": ""}, [], id="version 2, nothing narrowed"),
        pytest.param(2, {"/machine.slice": "1,5"}, [], id="version 2, narrowed to what the guest has"),
        pytest.param(
            2,
            {"/machine.slice": "4-7"},
            ["/machine.slice allows 4-7 alone", "systemctl set-property --runtime 'machine.slice' AllowedCPUs=0-7"],
            id="version 2, a slice with AllowedCPUs",
        ),
        pytest.param(
            2,
            {"/rack": "4-7", "/rack/g.scope": ""},
            ["echo 0-7 >'/sys/fs/cgroup/rack/cpuset.cpus'"],
            id="version 2, a cgroup that is no unit",
        ),
        pytest.param(
            1,
            OLD,
            [
                "3 cpusets above the guest are without pCPU 1,",
                f"in this order: echo 0-7 >'{BASE}/cpuset.cpus'; echo 0-7 >'{BASE}/g.scope/cpuset.cpus'; echo",
            ],
            id="version 1, a pCPU that came back",
        ),
    ],
)
def test_what_is_said(version: int, cpusets: dict[str, str], said: list[str]) -> None:
    home = f"{list(cpusets)[-1]}/vcpu0"
    cgroups = [Cgroup(path, version, CpuSet.parse(cpus)) for path, cpus in cpusets.items()]
    cgroups.append(Cgroup(home, version, CpuSet.parse("7")))
    thread = ObservedThread(tid=9, name="CPU 0/KVM", role=Role.VCPU, number=0, cgroup=home)
    guest = ObservedGuest(name="g", threads=(thread,), cgroups=tuple(cgroups))
    observation = HostObservation(
        hostname="h", kernel="6.1", collected_at="", online=CpuSet(range(8)), present=CpuSet(range(8)), guests=(guest,)
    )
    text = describe_obstacle(observation, "g", Expectation(placement=on_two_cells("1,5"), foreign=False))
    assert all(part in text for part in said), text
    assert bool(text) == bool(said)
