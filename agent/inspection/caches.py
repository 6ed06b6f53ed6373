"""Which pCPUs share a cache: sys/devices/system/cpu/cpuN/cache/indexM.

Every cache of every level, once: the CPUs that a cache lists are not asked about it again.  Of a cache whose index and
size were seen before, level and type are taken to be the same (the kernel numbers the caches of all CPUs in one order),
which halves the files.  (kernel: Documentation/ABI/testing/sysfs-devices-system-cpu, cache/index*)
"""

from __future__ import annotations

from agent.inspection.cpus import FOLDER, bits
from agent.inspection.files import Root
from agent.inspection.values import parse_cpu_list, parse_cpu_mask, parse_kib, parse_number


class CacheFacts:
    """One cache and the online pCPUs that share it, as a mask."""

    __slots__ = ("cpus", "level", "size_kib", "type")

    def __init__(self, level: int, type: str, size_kib: int | None, cpus: int) -> None:
        self.level = level
        self.type = type
        self.size_kib = size_kib
        self.cpus = cpus


def read_caches(root: Root, online: int) -> list[CacheFacts]:
    """The caches of the online pCPUs, highest level first, then by type and lowest CPU."""
    caches: list[CacheFacts] = []
    known: dict[tuple[int, int | None], tuple[int, str]] = {}
    covered: list[int] = []
    for cpu in bits(online):
        index = 0
        while True:
            if index == len(covered):
                covered.append(0)
            if covered[index] >> cpu & 1:
                index += 1
                continue
            folder = f"{FOLDER}/cpu{cpu}/cache/index{index}/"
            shared = _read_shared(root, folder, cpu, covered[index])
            if shared is None:
                break
            size = root.parsed(folder + "size", parse_kib)
            if (index, size) not in known:
                level, kind = root.parsed(folder + "level", parse_number), root.line(folder + "type")
                if level is None or kind is None:
                    break
                known[index, size] = level, kind
            covered[index] |= shared
            caches.append(CacheFacts(*known[index, size], size, shared & online))
            index += 1
    caches.sort(key=lambda cache: (-cache.level, cache.type, cache.cpus & -cache.cpus))
    return caches


def _read_shared(root: Root, folder: str, cpu: int, covered: int) -> int | None:
    """Who shares the cache.  The mask is believed before the list, which on some kernels is wrong for shared L1 and L2
    (AMD family 15h); a mask without the CPU itself, or with CPUs of another cache, is damaged and the list is asked.
    """
    mask = root.parsed(folder + "shared_cpu_map", parse_cpu_mask)
    if mask is not None and mask >> cpu & 1 and not mask & covered:
        return mask
    listed = root.parsed(folder + "shared_cpu_list", parse_cpu_list)
    if listed is None and mask is None:
        return None
    return ((listed or 0) & ~covered) | 1 << cpu
