"""Keep this process off the pCPUs that guests own."""

from __future__ import annotations

import os

import psutil


def confine_process(cpus: frozenset[int]) -> None:
    """Give every thread of this process the mask; what the kernel refuses stays as it is."""
    for thread in psutil.Process().threads():
        try:
            os.sched_setaffinity(thread.id, cpus)
        except OSError:
            continue  # a thread that ended, or a cpuset that has none of these pCPUs
