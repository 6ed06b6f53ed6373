"""Render and parse per second: a 64-vCPU guest on two cells, against the same XML read and edited with xml.dom.minidom.

The peer is what people write by hand: parse the domain with the standard library, append a ``vcpupin`` a vCPU, an
``emulatorpin``, ``numatune`` and guest cells, write it out; and read the pins back.  It checks nothing, keeps no
intent, and cannot undo what it did.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.dom import minidom

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, PlacedCell, Placement
from agent.core.policy import CpuPolicy
from agent.domain.parse import parse_domain
from agent.domain.render import graft_domain, render_domain, strip_domain

VCPUS = 64


def placement() -> Placement:
    cells = tuple(
        PlacedCell(
            guest_cell=half,
            host_cell=half,
            vcpus=CpuSet(range(half * 32, half * 32 + 32)),
            memory_kib=8 << 20,
            policy=CpuPolicy.DEDICATED,
            pins={vcpu: CpuSet([vcpu + 8]) for vcpu in range(half * 32, half * 32 + 32)},
        )
        for half in (0, 1)
    )
    shape = CpuTopology(VCPUS, 1, 1)
    return Placement(
        host="bench",
        name="bench",
        vcpus=VCPUS,
        memory_kib=16 << 20,
        cells=cells,
        emulator=CpuSet([0]),
        cpu_topology=shape,
    )


def edit_by_hand(text: str) -> str:
    document = minidom.parseString(text)
    domain = document.documentElement

    def add(parent: minidom.Element, tag: str, **attributes: object) -> minidom.Element:
        node = document.createElement(tag)
        for name, value in attributes.items():
            node.setAttribute(name, str(value))
        parent.appendChild(node)
        return node

    tune = add(domain, "cputune")
    for vcpu in range(VCPUS):
        add(tune, "vcpupin", vcpu=vcpu, cpuset=vcpu + 8)
    add(tune, "emulatorpin", cpuset=0)
    numatune = add(domain, "numatune")
    add(numatune, "memory", mode="strict", nodeset="0-1")
    numa = add(domain.getElementsByTagName("cpu")[0], "numa")
    for half in (0, 1):
        add(numatune, "memnode", cellid=half, mode="strict", nodeset=half)
        add(numa, "cell", id=half, cpus=f"{half * 32}-{half * 32 + 31}", memory=8 << 20)
    return document.toxml()


def read_by_hand(text: str) -> dict[int, str]:
    document = minidom.parseString(text)
    return {
        int(node.getAttribute("vcpu")): node.getAttribute("cpuset") for node in document.getElementsByTagName("vcpupin")
    }


def median_us(work: Callable[[], object], runs: int) -> float:
    work()
    taken = []
    for _ in range(runs):
        start = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - start)
    return statistics.median(taken) / 1000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=300)
    runs = options.parse_args().runs
    wanted = placement()
    rendered = render_domain(wanted)
    plain = strip_domain(rendered)
    by_hand = edit_by_hand(plain)
    rows = {
        "render from a template": median_us(lambda: render_domain(wanted), runs),
        "graft into a domain": median_us(lambda: graft_domain(wanted, plain), runs),
        "minidom: edit by hand": median_us(lambda: edit_by_hand(plain), runs),
        "parse ours": median_us(lambda: parse_domain(rendered), runs),
        "parse a foreign domain": median_us(lambda: parse_domain(by_hand), runs),
        "minidom: read pins by hand": median_us(lambda: read_by_hand(by_hand), runs),
    }
    print(f"{VCPUS} vCPUs on two cells, median CPU time of {runs} runs")
    for label, taken in rows.items():
        print(f"  {label:<28} {taken:8.0f} µs  {1e6 / taken:8.0f} a second")
    ours = rows["graft into a domain"] + rows["parse a foreign domain"]
    theirs = rows["minidom: edit by hand"] + rows["minidom: read pins by hand"]
    print(f"graft and parse: {theirs / ours:.2f} × as fast as by hand with minidom")


if __name__ == "__main__":
    main()
