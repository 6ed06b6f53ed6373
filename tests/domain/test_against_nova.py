"""The elements that Nova itself renders, live, for random requests: ours for the same placement say the same.

Nova is asked with everything taken but the pCPUs that we chose, so both place the guest on the same ones; which vCPU
sits on which of them is Nova's word, and ours is renamed to it.
"""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.domain.document import Element, parse_xml
from agent.domain.render import render_domain
from agent.placement import place
from agent.placement.language import check_request
from tests.domain.test_nova import DIFFERENCES
from tests.hosts import host
from tests.scheduler.nova import ask, nova_python

REQUESTS = 60
SPLIT_HUGE = "osdev-split-huge"


def random_flavor(draw: random.Random) -> Flavor:
    """A guest of one or two cells with anything that shows in cputune, numatune, numa or memoryBacking."""
    vcpus, cells = draw.choice([2, 4, 6, 8]), draw.choice([1, 1, 2])
    policy = draw.choice(["dedicated", "dedicated", "shared", "mixed"])
    specs: dict[str, str] = {"hw:cpu_policy": policy, "hw:numa_nodes": str(cells)}
    if policy == "mixed":
        specs["hw:cpu_dedicated_mask"] = "0" if cells == 1 else f"0,{vcpus - 1}"
    wishes: dict[str, list[str | None]] = {
        "hw:mem_page_size": [None, None, "small", "large", "2048", "1GB"],
        "hw:cpu_sockets": [None, "1", "2"],
        "hw:cpu_threads": [None, "1", "2"],
    }
    if policy != "shared":
        wishes["hw:emulator_threads_policy"] = [None, "share", "isolate"]
        wishes["hw:cpu_realtime"] = [None, None, "yes"]
    specs |= {key: word for key, words in wishes.items() if (word := draw.choice(words)) is not None}
    if policy == "dedicated" and "hw:cpu_realtime" in specs:
        specs["hw:cpu_realtime_mask"] = "^0"
    if "hw:mem_page_size" in specs and draw.random() < 0.4:
        specs["hw:locked_memory"] = "yes"
    return Flavor(vcpus=vcpus, ram_mb=1024 * vcpus, name="f", extra_specs={**specs})


def nova_case(topology: HostTopology, ours: Placement, flavor: Flavor) -> dict[str, Any]:
    """The question: the host with only our pCPUs free, and no memory but on our cells."""
    chosen = {cell.host_cell for cell in ours.cells}
    owned, siblings = ours.owned(), [core.cpus for cell in topology.cells for core in cell.cores]
    shared, dedicated = topology.shared(), topology.dedicated()
    return {
        "host": {
            "cells": [
                {
                    "id": cell.id,
                    "cpuset": str(cell.cpus & shared),
                    "pcpuset": str(cell.cpus & dedicated),
                    "pinned_cpus": str((cell.cpus & dedicated) - owned) if owned else "",
                    "memory_mb": (cell.memory_kib or 0) // 1024 if cell.id in chosen else 0,
                    "siblings": [list(cpus & dedicated) for cpus in siblings if cpus & dedicated & cell.cpus],
                    "mempages": [
                        {"size_kb": pool.size_kib, "total": pool.total if cell.id in chosen else 0}
                        for pool in cell.pages
                    ],
                }
                for cell in topology.cells
            ]
        },
        "flavor": {"vcpus": flavor.vcpus, "memory_mb": flavor.ram_mb, "extra_specs": flavor.extra_specs},
        "conf": {"compute.cpu_shared_set": str(shared), "compute.cpu_dedicated_set": str(dedicated)},
    }


def as_nova_has_it(ours: Placement, cells: list[dict[str, Any]]) -> Placement:
    """Our placement with Nova's choice of cell for each guest cell, and of vCPU for each of the same pCPUs."""
    mine: dict[int, int] = {}
    for cell, theirs in zip(ours.cells, cells, strict=True):
        assert cell.host_cell == theirs["id"]
        pins = {vcpu: cell.pins[vcpu].first() for vcpu in cell.owning()}
        assert set(pins) == {int(vcpu) for vcpu in theirs["cpu_pinning"]}
        mine |= {pcpu: theirs["cpu_pinning"][str(vcpu)] for vcpu, pcpu in pins.items()}
    left = sorted(ours.owned() - CpuSet(mine)), sorted(ours.owned() - CpuSet(mine.values()))
    mine |= dict(zip(*left, strict=True))
    renamed = [
        msgspec.structs.replace(
            cell,
            pins={
                vcpu: CpuSet([mine[cpus.first()]]) if vcpu in cell.owning() else cpus
                for vcpu, cpus in cell.pins.items()
            },
        )
        for cell in ours.cells
    ]
    emulator = CpuSet(mine.get(pcpu, pcpu) for pcpu in ours.emulator)
    return msgspec.structs.replace(ours, cells=tuple(renamed), emulator=emulator)


def said(node: Element | None) -> list[tuple[object, ...]]:
    """Every element below ``node`` without our documented differences: tag, attributes, text; in any order."""
    found = []
    for each in node.iter() if node is not None else ():
        parts = [str(one.tag) for one in (each, *each.iterancestors())]
        if not set(parts) & set(DIFFERENCES):
            attributes = {key: value for key, value in each.items() if key not in DIFFERENCES}
            found.append((each.tag, tuple(sorted(attributes.items())), (each.text or "").strip()))
    return sorted(found)  # type: ignore[type-var]


def page_sizes(root: Element) -> dict[int, str]:
    """Guest cell → the size of its huge pages in KiB."""
    pages = root.iterfind("memoryBacking/hugepages/page")
    return {cell: page.get("size", "") for page in pages for cell in CpuSet.parse(page.get("nodeset", ""))}


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    return nova_python(request.config.rootpath / ".cache")


def test_the_same_elements_as_nova_for_random_requests(shared_data: Path, python: Path) -> None:
    draw = random.Random(5)
    topology = host(SPLIT_HUGE)
    asked: list[tuple[Flavor, Placement]] = []
    while len(asked) < REQUESTS:
        flavor = random_flavor(draw)
        request = Request(flavor=flavor, name="cw-nova")
        try:
            check_request(request)
        except BadRequest:
            continue
        answer = place(topology, Usage(), request)
        if isinstance(answer, Placement):
            asked.append((flavor, answer))
    oracle = shared_data.parent / "nova" / "xml_oracle.py"
    answers = ask(python, oracle, [nova_case(topology, ours, flavor) for flavor, ours in asked])
    for (flavor, ours), nova in zip(asked, answers, strict=True):
        assert nova["fits"], f"{flavor}: {nova}"
        root = parse_xml(render_domain(as_nova_has_it(ours, nova["cells"])))
        theirs = parse_xml(f"<domain>{''.join(filter(None, nova['xml'].values()))}</domain>")
        for path in ("cputune", "numatune", "memoryBacking", "cpu/numa"):
            assert said(root.find(path)) == said(theirs.find(path)), f"{flavor}: {path}"
        assert page_sizes(root) == page_sizes(theirs), f"{flavor}: hugepages"
        if "hw:cpu_sockets" in flavor.extra_specs:  # else we may show siblings as threads, and Nova never does
            assert said(root.find("cpu/topology")) == said(theirs.find("cpu/topology")), flavor
