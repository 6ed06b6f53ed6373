"""Where the memory cells of a cgroup are set, for whoever may change them (cpuset.mems in both versions)."""

from __future__ import annotations

from pathlib import Path

from agent.core.observation import Cgroup
from agent.inspection.cgroup import MOUNTS
from agent.inspection.files import Root


def mems_file(root: Root, cgroup: Cgroup) -> Path:
    """The file ``cpuset.mems`` of a cgroup that was read."""
    return Path(root.prefix + MOUNTS[cgroup.version] + cgroup.path) / "cpuset.mems"
