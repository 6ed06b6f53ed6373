"""The saved machines, unpacked once a run."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.topology import HostTopology
from agent.inspection.host import read_host

PARTIAL = {
    "pcp/sysfs-hugepages-003": "node0's huge pages alone: no CPU anywhere",
    "util-linux/lsmem-s390-zvm-6g": "sys/devices/system/memory alone",
    "util-linux/lsmem-x86_64-16g": "sys/devices/system/memory alone",
}
"""Trees in which nothing says that there is a CPU: one clear error."""


@pytest.fixture(scope="session")
def saved(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The trees and, in NAME.expect, what is expected of them: oracle.json, and hwloc's own XML in peers/."""
    folder = tmp_path_factory.mktemp("hosts")
    subprocess.run(["tar", "xJf", shared_data / "hosts/hosts-slim.tar.xz", "-C", folder], check=True)
    expected = [
        "tar",
        "xJf",
        shared_data / "hosts/hosts.tar.xz",
        "-C",
        folder,
        "--wildcards",
        "*/oracle.json",
        "*/hwloc.xml",
    ]
    subprocess.run(expected, check=True)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="session")
def machines(saved: Path) -> dict[str, tuple[HostTopology, dict[str, Any]]]:
    """Every machine that is not PARTIAL: ours and the canonical facts."""
    found = {}
    for expect in sorted(saved.glob("*/*.expect")):
        name = f"{expect.parent.name}/{expect.name.removesuffix('.expect')}"
        if name not in PARTIAL:
            canonical = json.loads((expect / "oracle.json").read_text())["canonical"]
            found[name] = read_host(str(saved / name)), canonical
    assert len(found) == 104 - len(PARTIAL)
    return found
