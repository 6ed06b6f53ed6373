"""Keep this process off the pCPUs that guests own."""

from __future__ import annotations

import os

from agent.inspection.files import Root
from agent.inspection.masks import read_masks


def confine_process(cpus: frozenset[int]) -> None:
    """Give every thread of this process the mask; what the kernel refuses stays as it is."""
    for tid in read_masks(Root(), os.getpid()) or ():
        try:
            os.sched_setaffinity(tid, cpus)
        except OSError:
            continue  # a thread that ended, or a cpuset that has none of these pCPUs
