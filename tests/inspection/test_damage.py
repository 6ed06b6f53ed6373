"""Saved machines from which a family of files is taken: what it told is lost and said, everything else stands.

Some machines never had the files, or say the same in another place; both is fine, a silent change is not.
"""

import random
import re
from typing import Any, NamedTuple

import pytest

from agent.core.errors import BadInput
from agent.core.topology import HostTopology
from agent.inspection.archive import Archive
from agent.inspection.host import read_host
from tests.inspection.conftest import PARTIAL

CORES = {"cores", "core ids", "core sockets", "sockets", "dies", "threads", "smt"}
CELLS = {"cells", "cell cpus", "memory", "distances", "pages", "devices", "caches", "caches by cell"}


class Family(NamedTuple):
    """Files that go, the facts that may go with them, and a word that ``unknown`` must then have when they did."""

    files: str
    facts: set[str]
    said: str


FAMILIES = {
    "identity": Family(r"^proc/cpuinfo$", {"cpu", "arch", "pages"}, "cpu identity"),
    "status": Family(r"^proc/(self/)?(status|cpuset|mounts)$", {"allowed"}, "allowed"),
    "distances": Family(r"/node\d+/distance$", {"distances"}, "distances"),
    "memory": Family(r"(^proc|/node\d+)/meminfo$", {"memory", "pages"}, "memory"),
    "huge pages": Family(r"/hugepages(/|$)", {"pages"}, "huge pages"),
    "caches": Family(r"/cpu\d+/cache(/|$)", {"caches", "caches by cell"}, "caches"),
    "cells": Family(r"^sys/devices/system/node(/|$)", CELLS, "NUMA"),
    "cells' CPUs": Family(r"/node\d+/(cpulist|cpumap|cpu\d+)$", CELLS, "cells of pCPUs"),
    "topology": Family(r"/cpu\d+/topology(/|$)", CORES | {"caches", "caches by cell"}, "siblings|sockets|dies"),
    "siblings": Family(
        r"/topology/(thread_siblings|core_cpus)(_list)?$", CORES | {"caches", "caches by cell"}, "siblings"
    ),
    "packages": Family(
        r"/topology/(physical_package_id|core_siblings(_list)?|package_cpus(_list)?)$",
        {"sockets", "dies", "core sockets"},
        "sockets",
    ),
    "core ids": Family(r"/topology/core_id$", {"core ids"}, "core ids"),
    "isolated": Family(r"/cpu/(isolated|nohz_full)$", {"isolated"}, "isolated"),
    "devices": Family(r"^sys/bus/pci(/|$)", {"devices"}, ""),
}


def facts(host: HostTopology) -> dict[str, Any]:
    cores = [*(core for cell in host.cells for core in cell.cores), *host.outside_cells]
    whole: dict[object, Any] = {}
    for cell in host.cells:
        for cache in cell.caches:
            key = (cache.level, cache.type, cache.size_kib)
            whole[key] = whole.get(key, cache.cpus) | cache.cpus
    return {
        "online": host.online,
        "offline": host.offline,
        "isolated": (host.isolated, host.nohz_full),
        "allowed": host.allowed,
        "cpu": host.cpu,
        "arch": host.arch,
        "hostname": (host.hostname, host.kernel),
        "cores": sorted(str(core.cpus) for core in cores),
        "core ids": {str(core.cpus): core.core for core in cores},
        "core sockets": {str(core.cpus): (core.socket, core.die) for core in cores},
        "sockets": host.sockets,
        "dies": host.dies,
        "threads": host.threads_per_core,
        "smt": host.smt,
        "cells": [cell.id for cell in host.cells],
        "cell cpus": [cell.cpus for cell in host.cells],
        "memory": [(cell.memory_kib, cell.free_kib) for cell in host.cells],
        "distances": [cell.distances for cell in host.cells],
        "pages": [cell.pages for cell in host.cells],
        "caches": whole,
        "caches by cell": [cell.caches for cell in host.cells],
        "devices": [cell.devices for cell in host.cells],
    }


def without(archive: Archive, pattern: str) -> Archive | None:
    """The archive without the files, links and folders that match; None when there are none."""
    gone = re.compile(pattern).search
    files = {name: data for name, data in archive.files.items() if not gone(name)}
    links = {name: target for name, target in archive.links.items() if not gone(name)}
    if len(files) == len(archive.files) and len(links) == len(archive.links):
        return None
    return Archive(archive.folder, files, links, {name for name in archive.children if name and not gone(name)})


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_lost_is_said_and_nothing_else_changes(family: str, saved: dict[str, Archive]) -> None:
    pattern, may_change, said = FAMILIES[family]
    told = 0
    hit = [(name, cut) for name in sorted(saved.keys() - PARTIAL) if (cut := without(saved[name], pattern))]
    for name, damaged in hit[::2]:
        before = facts(read_host(saved[name]))
        try:
            host = read_host(damaged)
        except BadInput as why:
            assert "nothing tells which CPUs run" in str(why), name  # noqa: PT017  # a cpuinfo was all it had
            continue
        after = facts(host)
        changed = {fact for fact in before if before[fact] != after[fact]}
        has_topology = any("/topology/" in path for path in saved[name].files)
        assert changed <= may_change or not has_topology, f"{name}: {changed - may_change}"
        if changed and said:
            assert re.search(said, " ".join(host.unknown)), f"{name}: {changed} changed, and {host.unknown} is silent"
            told += 1
    assert told or not said, "a family that no machine has"


def test_files_that_vanish_at_random_never_end_in_a_traceback(saved: dict[str, Archive]) -> None:
    for name in sorted(saved.keys() - PARTIAL)[::3]:
        random_ = random.Random(name)  # the same files on every run
        archive = saved[name]
        kept = {path: data for path, data in archive.files.items() if random_.random() > 0.2}
        try:
            host = read_host(Archive(name, kept, archive.links, set(archive.children) - {""}))
        except BadInput as why:
            assert name in str(why)  # noqa: PT017
            continue
        assert host.online
        for cell in host.cells:
            assert cell.cpus <= host.online


def test_files_that_are_cut_short_are_named_or_do_not_matter(saved: dict[str, Archive]) -> None:
    for name in sorted(saved.keys() - PARTIAL)[1::5]:
        random_ = random.Random(name)
        archive = saved[name]
        cut = {
            path: data[: random_.randrange(len(data) + 1)] if random_.random() < 0.02 else data
            for path, data in archive.files.items()
        }
        try:
            read_host(Archive(name, cut, archive.links, set(archive.children) - {""}))
        except BadInput as why:
            assert name in str(why)  # noqa: PT017
