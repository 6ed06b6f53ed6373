"""Every saved machine once more, as an older kernel would have told it: in masks, or without package ids."""

import re
from typing import Any

import pytest

from agent.core.cpuset import CpuSet
from agent.inspection.archive import Archive
from agent.inspection.document import read_document
from tests.inspection.conftest import PARTIAL

Files = dict[str, bytes]

LISTS = re.compile(r"/(topology/\w+_list|cache/index\d+/shared_cpu_list|node\d+/cpulist)$")


def mask(cpus: CpuSet) -> bytes:
    """The kernel's form: 32-bit words, the highest first."""
    words = max(1, -(-cpus.mask.bit_length() // 32))
    return ",".join(f"{cpus.mask >> 32 * at & 0xFFFFFFFF:08x}" for at in reversed(range(words))).encode() + b"\n"


def in_masks(files: Files) -> Files:
    """Linux before 2.6.26; where the tree has the mask too, it stays."""
    told: Files = {}
    for name, data in files.items():
        if LISTS.search(name):
            name = name.replace("cpulist", "cpumap").replace("shared_cpu_list", "shared_cpu_map").removesuffix("_list")
            data = files.get(name) or mask(CpuSet.parse(data.decode().strip("\0\n ")))
        told[name] = data
    return told


def without_package_ids(files: Files) -> Files:
    """ARM without PPTT, POWER, s390: sockets by who is listed together."""
    return {name: b"-1\n" if name.endswith("/physical_package_id") else data for name, data in files.items()}


def facts(document: dict[str, Any]) -> dict[str, Any]:
    cores = [core for cell in document["cells"] for core in cell["cores"]] + document["outside_cells"]
    caches = [(cell["id"], *cache.values()) for cell in document["cells"] for cache in cell["caches"]]
    return {
        "online": document["online"],
        "offline": document["offline"],
        "sockets": document["sockets"],
        "cores": sorted(core["cpus"] for core in cores),
        "cells": [(cell["id"], cell["cpus"]) for cell in document["cells"]],
        "caches": sorted(map(str, caches)),
    }


@pytest.mark.parametrize(
    ("retold", "contradict"),
    [
        # lists that are sane beside damaged masks
        (in_masks, {"hwloc/40intel64-4n10c+pci-conflicts": {"caches"}}),
        (
            without_package_ids,
            {
                # core_siblings says otherwise than the ids: see EXCEPTIONS of test_saved_hosts
                "hwloc/28em64t-2s2n7c-buggycoresiblings": {"sockets"},
                # no list of a package's CPUs: then nobody knows
                "libvirt/caps-hmat": {"sockets"},
                "libvirt/hostcpu-test7": {"sockets"},
            },
        ),
    ],
)
def test_the_machine_stays_the_same(retold: Any, contradict: dict[str, set[str]], saved: dict[str, Archive]) -> None:
    changed, compared = {}, 0
    for name in sorted(saved.keys() - PARTIAL):
        archive = saved[name]
        files = retold(archive.files)
        if files == archive.files:
            continue
        compared += 1
        before = facts(read_document(archive))
        after = facts(read_document(Archive(name, files, archive.links, set(archive.children) - {""})))
        if before != after:
            changed[name] = {fact for fact in before if before[fact] != after[fact]}
    assert compared > 60
    assert changed == contradict
