"""The saved machines, read once a run."""

import json
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.topology import HostTopology
from agent.inspection.archive import Archive
from agent.inspection.host import read_host

PARTIAL = {
    "pcp/sysfs-hugepages-003": "node0's huge pages alone: no CPU anywhere",
    "util-linux/lsmem-s390-zvm-6g": "sys/devices/system/memory alone",
    "util-linux/lsmem-x86_64-16g": "sys/devices/system/memory alone",
}
"""Trees in which nothing says that there is a CPU: one clear error."""


@pytest.fixture(scope="session")
def expected(shared_data: Path) -> dict[str, bytes]:
    """SOURCE/MACHINE.expect/… → content, of what the peers say: oracle.json; in peers/ what hwloc and numactl print."""
    return dict(members(shared_data / "hosts/hosts.tar.xz", ("/oracle.json", "/peers/hwloc.xml", "/peers/numactl.H")))


@pytest.fixture(scope="session")
def saved(shared_data: Path) -> dict[str, Archive]:
    """SOURCE/MACHINE → its saved /proc and /sys, kept in memory: on a disk they are 200,000 files."""
    files: dict[str, dict[str, bytes]] = {}
    links: dict[str, dict[str, str]] = {}
    folders: dict[str, set[str]] = {}
    with lzma.open(shared_data / "hosts/hosts-slim.tar.xz") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            parts = member.name.removeprefix("./").split("/", 2)
            if len(parts) < 3:
                continue
            machine, name = "/".join(parts[:2]), parts[2]
            if member.isreg():
                content = tar.extractfile(member)
                files.setdefault(machine, {})[name] = content.read() if content else b""
            elif member.issym():
                links.setdefault(machine, {})[name] = member.linkname
            else:
                folders.setdefault(machine, set()).add(name)
    return {
        machine: Archive(machine, files.get(machine, {}), links.get(machine, {}), folders.get(machine, set()))
        for machine in files.keys() | links.keys() | folders.keys()
        if not machine.endswith(".expect")
    }


@pytest.fixture(scope="session")
def machines(saved: dict[str, Archive], expected: dict[str, bytes]) -> dict[str, tuple[HostTopology, dict[str, Any]]]:
    """Every machine that is not PARTIAL: ours and the canonical facts."""
    found = {}
    for name, archive in sorted(saved.items()):
        if name not in PARTIAL:
            found[name] = read_host(archive), json.loads(expected[f"{name}.expect/oracle.json"])["canonical"]
    assert len(found) == 104 - len(PARTIAL)
    return found


def members(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files of an archive whose names end so."""
    with lzma.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.isreg() and member.name.endswith(endings):
                content = tar.extractfile(member)
                yield member.name.removeprefix("./"), content.read() if content else b""
