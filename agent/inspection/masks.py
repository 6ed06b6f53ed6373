"""The masks of all threads of one process, cheaply: to see whether anything changed since they were last judged."""

from __future__ import annotations

import os

from agent.inspection.files import Root


def read_masks(root: Root, pid: int) -> dict[int, frozenset[int]] | None:
    """Thread id → the pCPUs it may use now (sched_getaffinity(2), a microsecond each); None when the process is gone.

    What the kernel answers has the thread's own mask, its cgroup's cpuset and the pCPUs that are online in it, so
    whatever moves a thread shows here.
    """
    tids = root.names(f"proc/{pid}/task")
    if not tids:
        return None
    masks = {}
    for tid in tids:
        try:
            masks[int(tid)] = frozenset(os.sched_getaffinity(int(tid)))
        except OSError:
            continue  # a worker that has ended since
    return masks
