"""The cpusets above a running guest that keep its threads off their pCPUs, and the commands that widen them.

libvirt writes the cpusets of a guest's threads alone.  What lies above belongs to systemd, or to nobody: with cgroups
of version 1 the kernel takes a pCPU that goes offline out of every cpuset and never puts it back.
"""

from __future__ import annotations

from agent.compute.driver import Driver
from agent.compute.prove import observe_host
from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup, HostObservation
from agent.inspection.cgroup import cpuset_file
from agent.verification.expectation import Expectation, expect_mask

UNITS = (".slice", ".scope", ".service")


def find_obstacle(libvirt: Driver, name: str) -> str:
    """What is too narrow above the threads of a guest, and what to do first; "" when nothing is."""
    observation, expectations = observe_host(libvirt, names=[name], quick=True, must_run=False)
    return "" if name not in expectations else describe_obstacle(observation, name, expectations[name])


def describe_obstacle(observation: HostObservation, name: str, expectation: Expectation) -> str:
    """The same from what was observed already."""
    guest = next((one for one in observation.guests if one.name == name), None)
    if guest is None:
        return ""
    masks = (expect_mask(expectation.placement, thread) for thread in guest.threads)
    wanted = CpuSet(cpu for mask in masks for cpu in mask or ()) & observation.online
    homes = {thread.cgroup for thread in guest.threads if thread.cgroup}
    above = [one for one in guest.cgroups if any(home.startswith(f"{one.path.rstrip('/')}/") for home in homes)]
    narrow = sorted((one for one in above if one.cpus and not wanted <= one.cpus), key=lambda one: len(one.path))
    if not narrow:
        return ""
    lost = CpuSet(cpu for one in narrow for cpu in wanted - (one.cpus or CpuSet()))
    if narrow[0].version == 1:
        commands = "; ".join(f"echo {(one.cpus or CpuSet()) | lost} >'{cpuset_file(one)}'" for one in narrow)
        return (
            f"{len(narrow)} cpusets above the guest are without pCPU {lost}, as after it was offline, with cgroups of"
            f" version 1; put it back first, in this order: {commands}; then repair again"
        )
    said = " and ".join(f"{one.path} allows {one.cpus} alone" for one in narrow)
    commands = "; ".join(_widen(one, observation.online) for one in narrow)
    return (
        f"cgroup {said}; widen it first: {commands}; then repair again"
        " (an emptied AllowedCPUs= is not enough: systemd 252 leaves the old list in the cgroup)"
    )


def _widen(cgroup: Cgroup, online: CpuSet) -> str:
    unit = cgroup.path.rpartition("/")[2]
    if unit.endswith(UNITS):
        return f"systemctl set-property --runtime '{unit}' AllowedCPUs={online}"
    return f"echo {online} >'{cpuset_file(cgroup)}'"
