"""Which pCPUs this process may use: its affinity and cpuset, which in a container is less than what is there.

(kernel: Documentation/filesystems/proc.rst, ``Cpus_allowed_list``; Documentation/admin-guide/cgroup-v2.rst, cpuset)
"""

from __future__ import annotations

from agent.core.errors import BadInput
from agent.inspection.files import Root
from agent.inspection.values import parse_cpu_list, parse_cpu_mask

CPUSET_FILES = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus", "cpus")
"""cgroup v2, cgroup v1 since 3.17, cgroup v1, and the cpuset filesystem before cgroups."""


def read_allowed(root: Root) -> int | None:
    """The allowed pCPUs as a mask: from the process's status, in a saved tree without one from its cpuset."""
    allowed = root.parsed("proc/self/status", parse_status)
    return allowed if allowed is not None else _read_cpuset(root)


def parse_status(text: str) -> int:
    """``Cpus_allowed_list`` of a status file, or ``Cpus_allowed``, the mask, which is older."""
    for key, parse in (("Cpus_allowed_list:", parse_cpu_list), ("Cpus_allowed:", parse_cpu_mask)):
        for line in text.splitlines():
            if line.startswith(key):
                return parse(line[len(key) :])
    raise BadInput(f"no Cpus_allowed_list in {len(text)} characters; a process's status has one")


def _read_cpuset(root: Root) -> int | None:
    group = root.line("proc/self/cpuset")
    if group is None or ".." in group:
        return None
    for mount in parse_cpuset_mounts(root.text("proc/self/mounts") or root.text("proc/mounts") or ""):
        for name in CPUSET_FILES:
            cpus = root.parsed(f"{mount}{group.rstrip('/')}/{name}", parse_cpu_list)
            if cpus:
                return cpus
    return None


def parse_cpuset_mounts(text: str) -> list[str]:
    """Mount points (without the leading slash) of a mounts table under which a cpuset's files may be."""
    found = []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) < 4 or ".." in words[1]:
            continue
        kind, options = words[2], words[3].split(",")
        if kind in ("cpuset", "cgroup2") or (kind == "cgroup" and "cpuset" in options):
            found.append(words[1].strip("/"))
    return found
