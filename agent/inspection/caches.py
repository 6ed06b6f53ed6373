"""Which pCPUs share a cache: sys/devices/system/cpu/cpuN/cache/indexM.

Every cache of every level is told, but not every file of it is opened.  A cache that several cores share is read once
a group, its size and an L3's id each time (stacked L3s are larger than their neighbours), its level and type once an
index, size and kind of core.  Of the caches inside one core, which are most of the files, those of the first, the
middle and the last core of each kind are read; when the three have the same ones, every core of the kind is taken to
have them, else all are read.  Cores with one thread and with two are of two kinds: of a core whose sibling is offline
nobody can say which of its caches the siblings share (AMD family 15h: all but the L1 for data).
(kernel: Documentation/ABI/testing/sysfs-devices-system-cpu, cache/index*)
"""

from __future__ import annotations

from agent.inspection.cores import CoreFacts
from agent.inspection.cpus import FOLDER, bits, lowest
from agent.inspection.files import Root
from agent.inspection.values import parse_count, parse_cpu_list, parse_cpu_mask, parse_kib

LAST_LEVEL = 3
"""The kernel's resource control divides caches of this level."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Described = tuple[int, str, int | None]
    """Level, type and size in KiB of a cache."""


class CacheFacts:
    """One cache and the online pCPUs that share it, as a mask; the kernel's id of those that resctrl can divide."""

    __slots__ = ("cpus", "id", "level", "size_kib", "type")

    def __init__(self, level: int, type: str, size_kib: int | None, *, cpus: int, id: int | None) -> None:
        self.level = level
        self.type = type
        self.size_kib = size_kib
        self.cpus = cpus
        self.id = id


def read_caches(root: Root, cores: list[CoreFacts]) -> list[CacheFacts]:
    """The caches of the online pCPUs, highest level first, then by type and lowest CPU."""
    online = 0
    for core in cores:
        online |= core.cpus
    kinds: dict[tuple[str | None, int], list[CoreFacts]] = {}
    for core in cores:
        kinds.setdefault((core.kind, core.cpus.bit_count()), []).append(core)
    told: list[CacheFacts] = []
    known: dict[tuple[int, str], int] = {}
    for alike in kinds.values():
        reader = _Reader(root, online)
        samples = {0, len(alike) // 2, len(alike) - 1}
        private = [reader.read_core(alike[number]) for number in sorted(samples)]
        if not reader.caches:
            continue
        others = [core for number, core in enumerate(alike) if number not in samples]
        if all(caches == private[0] for caches in private):
            reader.read_alike(others, private[0])
        else:
            for core in others:
                reader.read_core(core)
        for cache in told:  # of the kinds before, which may share some
            known[cache.level, cache.type] = known.get((cache.level, cache.type), 0) | cache.cpus
        for cache in reader.caches if known else ():
            cache.cpus &= ~known.get((cache.level, cache.type), 0)
        told += [cache for cache in reader.caches if cache.cpus]
    return sorted(told, key=lambda cache: (-cache.level, cache.type, cache.cpus & -cache.cpus))


class _Reader:
    """What was read so far of one kind of core: the caches, and by index the CPUs whose cache of that index it is."""

    def __init__(self, root: Root, online: int) -> None:
        self.root = root
        self.online = online
        self.caches: list[CacheFacts] = []
        self.covered: list[int] = []
        self.shapes: dict[tuple[int, int | None], tuple[int, str]] = {}
        """Index and size → level and type."""

    def read_core(self, core: CoreFacts) -> dict[int, Described]:
        """Add the caches of a core's threads; those that no other core shares are answered by index."""
        found: dict[int, Described] = {}
        for cpu in bits(core.cpus):
            index = 0
            while True:
                if index < len(self.covered) and self.covered[index] >> cpu & 1:
                    index += 1
                    continue
                cache = self._read(cpu, index)
                if cache is None:
                    break
                if cache.cpus == core.cpus:
                    found[index] = (cache.level, cache.type, cache.size_kib)
                index += 1
        return found

    def read_alike(self, cores: list[CoreFacts], private: dict[int, Described]) -> None:
        """Add the caches of cores that have the ``private`` ones of their own: only the shared ones are read."""
        ended = 0  # the CPUs with an index that is not there: they have none behind it
        for index in range(len(self.covered)):
            described = private.get(index)
            for core in cores:
                left = core.cpus & ~(self.covered[index] | ended)
                if left and described is not None:
                    self._add(index, lowest(left), core.cpus, described)
                    continue
                while left:
                    cpu = lowest(left)
                    if self._read(cpu, index) is None:
                        ended |= 1 << cpu
                    left &= ~(self.covered[index] | ended)

    def _read(self, cpu: int, index: int) -> CacheFacts | None:
        folder = f"{FOLDER}/cpu{cpu}/cache/index{index}/"
        shared = self._read_shared(folder, cpu, self.covered[index] if index < len(self.covered) else 0)
        if shared is None:
            return None
        size = self.root.parsed(folder + "size", parse_kib)
        shape = self.shapes.get((index, size)) or self._read_shape(folder)
        if shape is None:
            return None
        self.shapes[index, size] = shape
        return self._add(index, cpu, shared, (*shape, size))

    def _add(self, index: int, cpu: int, shared: int, described: Described) -> CacheFacts:
        """One more cache, as ``cpu`` tells of it."""
        if index == len(self.covered):
            self.covered.append(0)
        self.covered[index] |= shared
        number = self._read_id(cpu, index) if described[0] >= LAST_LEVEL else None
        self.caches.append(CacheFacts(*described, cpus=shared & self.online, id=number))
        return self.caches[-1]

    def _read_shape(self, folder: str) -> tuple[int, str] | None:
        level = self.root.parsed(folder + "level", parse_count)
        kind = None if level is None else self.root.line(folder + "type")
        return None if level is None or kind is None else (level, kind)

    def _read_id(self, cpu: int, index: int) -> int | None:
        return self.root.parsed(f"{FOLDER}/cpu{cpu}/cache/index{index}/id", parse_count)

    def _read_shared(self, folder: str, cpu: int, covered: int) -> int | None:
        """Who shares the cache.  The mask is believed before the list, which some kernels get wrong for the shared L1
        and L2 of AMD family 15h; a mask without the CPU itself, or with CPUs of another cache, is damaged and the list
        is asked.
        """
        mask = self.root.parsed(folder + "shared_cpu_map", parse_cpu_mask)
        if mask is not None and mask >> cpu & 1 and not mask & covered:
            return mask
        listed = self.root.parsed(folder + "shared_cpu_list", parse_cpu_list)
        if listed is None and mask is None:
            return None
        return ((listed or 0) & ~covered) | 1 << cpu
