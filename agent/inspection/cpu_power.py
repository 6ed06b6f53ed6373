"""The switches of single pCPUs: running or not, and the cpufreq governor.

Documentation/core-api/cpu_hotplug.rst, Documentation/admin-guide/pm/cpufreq.rst of the kernel.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.inspection.cgroup import parse_cgroups
from agent.inspection.cpus import FOLDER
from agent.inspection.files import Root
from agent.inspection.values import parse_cpu_list


def online_file(cpu: int) -> str:
    """The file that takes 0 and 1; there is none for a pCPU that cannot be taken offline."""
    return f"{FOLDER}/cpu{cpu}/online"


def cpu_switched_by(file: str) -> int | None:
    """The pCPU whose ``online_file`` this is; None for any other file.

    >>> cpu_switched_by(online_file(7))
    7
    """
    digits = file.removeprefix(f"{FOLDER}/cpu").removesuffix("/online")
    return int(digits) if digits.isdecimal() and file == online_file(int(digits)) else None


def governor_file(cpu: int) -> str:
    """The file that takes the name of a governor; there is none without a cpufreq driver."""
    return f"{FOLDER}/cpu{cpu}/cpufreq/scaling_governor"


def read_online(root: Root) -> CpuSet:
    """The pCPUs that run now."""
    return CpuSet.of_mask(root.parsed(f"{FOLDER}/online", parse_cpu_list) or 0)


def forgets_pcpus(root: Root) -> bool:
    """Whether a pCPU that goes offline leaves every cpuset for good, as it does with cgroup version 1."""
    found = root.parsed("proc/self/cgroup", parse_cgroups)
    return found is not None and found[0] == 1
