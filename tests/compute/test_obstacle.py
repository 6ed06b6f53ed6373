"""What is said of cpusets above a guest that are too narrow, on the hosts where it was met."""

import pytest

from agent.compute.obstacle import describe_obstacle, find_ours_to_widen
from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup, HostObservation, ObservedGuest, ObservedThread, Role
from agent.verification.expectation import Expectation
from tests.compute.test_start import on_two_cells

SCOPE = "/machine.slice/machine-qemu\\x2d1\\x2dg.scope"
LOST = {"/machine.slice": "0,2-7", SCOPE: "0,2-7", f"{SCOPE}/libvirt": "0,2-7"}
BASE = "/sys/fs/cgroup/cpuset/machine.slice"


ON_1_AND_5 = Expectation(placement=on_two_cells("1,5"), foreign=False)


def observe(version: int, cpusets: dict[str, str]) -> HostObservation:
    """A guest whose vCPU 0 is in a cgroup below the last of these."""
    home = f"{list(cpusets)[-1]}/vcpu0"
    cgroups = [Cgroup(path, version, CpuSet.parse(cpus)) for path, cpus in cpusets.items()]
    cgroups.append(Cgroup(home, version, CpuSet.parse("7")))
    thread = ObservedThread(tid=9, name="CPU 0/KVM", role=Role.VCPU, number=0, cgroup=home)
    guest = ObservedGuest(name="g", threads=(thread,), cgroups=tuple(cgroups))
    return HostObservation(
        hostname="h", kernel="6.1", collected_at="", online=CpuSet(range(8)), present=CpuSet(range(8)), guests=(guest,)
    )


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
            ["echo 1,4-7 >'/sys/fs/cgroup/rack/cpuset.cpus'"],
            id="version 2, a cgroup that is no unit",
        ),
        pytest.param(2, {"/machine.slice": "", SCOPE: "4-7"}, [], id="version 2, the guest's own scope: ours to widen"),
        pytest.param(
            1,
            {"/machine.slice": "4-7", SCOPE: "0-7"},
            ["/machine.slice allows 4-7 alone", f"echo 1,4-7 >'{BASE}/cpuset.cpus'"],
            id="version 1, a slice that was narrowed by hand",
        ),
    ],
)
def test_what_is_said(version: int, cpusets: dict[str, str], said: list[str]) -> None:
    observation = observe(version, cpusets)
    text = describe_obstacle(observation, "g", ON_1_AND_5)
    assert all(part in text for part in said), text
    assert bool(text) == bool(said)


@pytest.mark.parametrize(
    ("version", "cpusets", "widened"),
    [
        pytest.param(2, {"/machine.slice": "4-7", SCOPE: "4-7"}, {SCOPE: "1,4-7"}, id="the slice is not ours"),
        pytest.param(2, {"/machine.slice": "", SCOPE: ""}, {}, id="nothing is narrow"),
        pytest.param(1, LOST, dict.fromkeys(LOST, "0-7"), id="version 1: a pCPU that came back is lost everywhere"),
        pytest.param(1, {"/machine.slice": "4-7", SCOPE: "0-7"}, {}, id="version 1: somebody narrowed the slice"),
    ],
)
def test_what_a_repair_widens_itself(version: int, cpusets: dict[str, str], widened: dict[str, str]) -> None:
    found = find_ours_to_widen(observe(version, cpusets), "g", ON_1_AND_5)
    assert {one.path: str(cpus) for one, cpus in found} == widened
