"""The cpuset of a cgroup, in version 1 and 2 of the interface.

Version 1: Documentation/admin-guide/cgroup-v1/cpusets.rst, files ``cpuset.cpus`` and ``cpuset.effective_cpus``.
Version 2: Documentation/admin-guide/cgroup-v2.rst, ``cpuset.cpus``, empty where nothing is asked, and
``cpuset.cpus.effective``.  A host that has both hierarchies mounted uses the first for cpusets.
"""

from __future__ import annotations

import re

from agent.core.cpuset import CpuSet
from agent.core.observation import Cgroup
from agent.inspection.files import Root

MOUNTS = {1: "sys/fs/cgroup/cpuset", 2: "sys/fs/cgroup"}
_OWN = re.compile(r"/(machine-qemu\\x2d\d+\\x2d[^/]*\.scope|qemu-\d+-[^/]*\.libvirt-qemu)(/|$)")
_EFFECTIVE = {1: "cpuset.effective_cpus", 2: "cpuset.cpus.effective"}


def parse_cgroups(text: str) -> tuple[int, str] | None:
    """Version and path of the cgroup that rules a task's pCPUs, from /proc/PID/cgroup; None when there is none."""
    unified = None
    for line in text.splitlines():
        _, colon, rest = line.partition(":")
        controllers, also_colon, path = rest.partition(":")
        if not (colon and also_colon and path.startswith("/")):
            continue
        if "cpuset" in controllers.split(","):
            return 1, path
        if not controllers:
            unified = 2, path
    return unified


def read_cgroup(root: Root, version: int, path: str) -> Cgroup | None:
    """One cgroup's cpuset; None when it is gone, or has no cpuset because its parent does not give it one."""
    folder = f"{MOUNTS[version]}{path.rstrip('/')}"
    effective = root.parsed(f"{folder}/{_EFFECTIVE[version]}", CpuSet.parse)
    cpus = root.parsed(f"{folder}/cpuset.cpus", CpuSet.parse)
    if effective is None and cpus is None:
        return None
    return Cgroup(path, version, cpus, effective, root.parsed(f"{folder}/cpuset.mems", CpuSet.parse))


def cpuset_file(cgroup: Cgroup) -> str:
    """The file of a live host that says which pCPUs a cgroup may use."""
    return f"/{MOUNTS[cgroup.version]}{cgroup.path.rstrip('/')}/cpuset.cpus"


def is_guests_own(path: str) -> bool:
    """Whether libvirt made the cgroup for one guest: its scope (or folder, without systemd) and what is below it.

    ``/machine.slice/machine-qemu\\x2d1\\x2ddb.scope`` and ``/machine/qemu-1-db.libvirt-qemu``; what is above belongs to
    every guest.
    """
    return _OWN.search(path) is not None


def parents(path: str) -> list[str]:
    """The path and every path above it, longest first, without the root: ``/a/b`` and ``/a``."""
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1) if parts[0]]
