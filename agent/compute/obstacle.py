"""The cpusets above a running guest that keep its threads off their pCPUs: ours to widen, or the operator's.

libvirt writes the cpusets of a guest's threads alone.  The guest's own scope above them a repair may widen; a slice
holds other guests too and is somebody's decision, so there the commands are said that widen it.  With cgroups of
version 1 the kernel takes a pCPU that goes offline out of every cpuset and never puts it back, and nobody manages them.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup, HostObservation, ObservedGuest
from agent.inspection.cgroup import cpuset_file, is_guests_own
from agent.verification.expectation import Expectation, expect_mask

UNITS = (".slice", ".scope", ".service")


def describe_obstacle(observation: HostObservation, name: str, expectation: Expectation) -> str:
    """What is too narrow above the threads of a guest, and what to do first; "" when nothing is."""
    narrow = [one for one in find_narrow(observation, name, expectation) if not is_guests_own(one[0].path)]
    if not narrow:
        return ""
    said = " and ".join(f"{one.path} allows {one.cpus} alone" for one, _ in narrow)
    commands = "; ".join(_widen(one, missing, online=observation.online) for one, missing in narrow)
    hint = " (an emptied AllowedCPUs= is not enough: systemd 252 leaves the old list in the cgroup)"
    return f"cgroup {said}, and holds other guests too; widen it first: {commands}; then repair again" + hint * (
        narrow[0][0].version == 2
    )


def find_narrow(observation: HostObservation, name: str, expectation: Expectation) -> tuple[tuple[Cgroup, CpuSet], ...]:
    """The cgroups above a guest's threads that are without some of its pCPUs, each with these; highest first."""
    guest = next((one for one in observation.guests if one.name == name), None)
    if guest is None:
        return ()
    masks = (expect_mask(expectation.placement, thread) for thread in guest.threads)
    wanted = CpuSet(cpu for mask in masks for cpu in mask or ()) & observation.online
    homes = {thread.cgroup for thread in guest.threads if thread.cgroup}
    above = [one for one in guest.cgroups if any(home.startswith(f"{one.path.rstrip('/')}/") for home in homes)]
    narrow = [(one, wanted - one.cpus) for one in above if one.cpus and not wanted <= one.cpus]
    return tuple(sorted(narrow, key=lambda one: len(one[0].path)))


def find_ours_to_widen(
    observation: HostObservation, name: str, expectation: Expectation
) -> tuple[tuple[Cgroup, CpuSet], ...]:
    """Those of them that a repair may widen, with all the pCPUs that each should have.

    The cgroups that libvirt made for this guest alone; and with version 1, where every cpuset above lacks the very same
    pCPUs, those too: the kernel took them away everywhere when they went offline.
    """
    narrow = find_narrow(observation, name, expectation)
    guest = next((one for one in observation.guests if one.name == name), None)
    lost = {missing for _, missing in narrow}
    paths = {one.path for one, _ in narrow}
    everywhere = (
        guest is not None
        and len(lost) == 1
        and all(one.version == 1 and (one.path in paths or one.path in _homes(guest)) for one in guest.cgroups)
    )
    return tuple(
        (one, (one.cpus or CpuSet()) | missing) for one, missing in narrow if everywhere or is_guests_own(one.path)
    )


def _homes(guest: ObservedGuest) -> set[str | None]:
    return {thread.cgroup for thread in guest.threads}


def _widen(cgroup: Cgroup, missing: CpuSet, *, online: CpuSet) -> str:
    unit = cgroup.path.rpartition("/")[2]
    if cgroup.version == 2 and unit.endswith(UNITS):
        return f"systemctl set-property --runtime '{unit}' AllowedCPUs={online}"
    return f"echo {(cgroup.cpus or CpuSet()) | missing} >'{cpuset_file(cgroup)}'"
