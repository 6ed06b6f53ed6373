"""``topology --format numactl`` against what numactl itself printed on the saved machines, line for line.

Taken alike first, because numactl cannot say it better:
- "0 MB" for a size that no file of a cell tells, where ours says <not available>, or has it from /proc/meminfo;
- offline pCPUs, which numactl lists where the tree's cpumap does (POWER and s390 before Linux 3.13).
"""

from typing import Any

from agent.core.topology import HostTopology
from agent.picture.numactl import render_numactl

EXCEPTIONS = {
    "hwloc/offline-cpu0-node0": "numactl takes the first number of node1/distance, which is for cell 0, for its own",
}


def line_by_line(host: HostTopology, theirs: str) -> list[tuple[str, str]]:
    """The lines that differ, as (ours, theirs)."""
    mine, other = render_numactl(host).splitlines(), theirs.splitlines()
    if len(mine) != len(other):
        return [("\n".join(mine), theirs)]
    return [(a, b) for a, b in zip(mine, other, strict=True) if a != b and not alike(a, b, host)]


def alike(mine: str, theirs: str, host: HostTopology) -> bool:
    words = theirs.split()
    if len(words) > 3 and words[2] in ("size:", "free:"):
        known = mine.split()[3:] != ["<not", "available>"]
        return mine.split()[:3] == words[:3] and words[3:] == ["0", "MB"] and (not known or len(host.cells) == 1)
    if words[2:3] == ["cpus:"]:
        return mine.split() == words[:3] + [cpu for cpu in words[3:] if int(cpu) in host.online]
    return False


def test_line_for_line(machines: dict[str, tuple[HostTopology, dict[str, Any]]], expected: dict[str, bytes]) -> None:
    differ = {}
    compared = 0
    for name, (host, _) in machines.items():
        theirs = expected.get(f"{name}.expect/peers/numactl.H", b"").decode()
        if theirs.strip():
            compared += 1
            if lines := line_by_line(host, theirs):
                differ[name] = lines
    assert compared > 80
    assert {name: lines for name, lines in differ.items() if name not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) == set(differ), "an exception that is none"
