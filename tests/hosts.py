"""Named hosts of the tests: one synthetic description each; ``host(name)`` makes the Topology."""

from agent.core.topology import HostTopology
from agent.inspection.synthetic import parse_synthetic

NAMED = {
    # the 2 × 18 × 2 host that the field knows from a published article: siblings i and i+36
    "osdev-01": "socket:2 core:18 thread:2 memory:195236MiB,196608MiB distance:21 name:osdev-01",
    # the same, new style: four cores a cell for floating guests and the emulator, the rest for pinned ones
    "osdev-split": "socket:2 core:18 thread:2 memory:195236MiB,196608MiB name:osdev-split"
    " dedicated:4-17,40-53,22-35,58-71 shared:0-3,36-39,18-21,54-57",
    "osdev-split-huge": "socket:2 core:18 thread:2 memory:195236MiB,196608MiB name:osdev-split-huge"
    " pages:2M=16384,1G=32 dedicated:4-17,40-53,22-35,58-71 shared:0-3,36-39,18-21,54-57",
    "tiny": "core:2 thread:2 memory:4GiB name:tiny",
    "no-smt": "socket:2 core:8 memory:32GiB name:no-smt",
    "no-smt-16": "cell:2 core:16 memory:32GiB name:no-smt-16",
    "smt4": "socket:2 core:4 thread:4 memory:32GiB name:smt4",
    # AMD-like: one socket, two cells, four L3 groups of four cores a cell
    "ccx": "cell:2 l3:4 core:4 thread:2 memory:64GiB distance:12 name:ccx",
    "eight-cells": "socket:2 cell:4 core:16 thread:2 memory:64GiB name:eight-cells distance:"
    "10/12/12/12/32/32/32/32,12/10/12/12/32/32/32/32,12/12/10/12/32/32/32/32,12/12/12/10/32/32/32/32,"
    "32/32/32/32/10/12/12/12,32/32/32/32/12/10/12/12,32/32/32/32/12/12/10/12,32/32/32/32/12/12/12/10",
    "huge-pages": "socket:2 core:8 thread:2 memory:64GiB pages:2M=4096,1G=8 name:huge-pages",
}


def host(name: str) -> HostTopology:
    """The named host."""
    return parse_synthetic(NAMED[name])
