"""Memory and page pools of a cell or of the whole host: meminfo files and hugepages folders.

(kernel: Documentation/ABI/stable/sysfs-devices-node, Documentation/admin-guide/mm/hugetlbpage.rst)
"""

from __future__ import annotations

from agent.core.errors import BadInput
from agent.inspection.files import Root
from agent.inspection.values import MOST, parse_count

HUGE = "hugepages-"


def parse_meminfo(text: str) -> tuple[int, int | None]:
    """Total and free memory in KiB, of /proc/meminfo and of a cell's meminfo alike; free is None where not told."""
    total = _kib_of(text, "MemTotal:")
    if total is None:
        raise BadInput(f"no MemTotal in {len(text)} characters; a meminfo file has one")
    return total, _kib_of(text, "MemFree:")


def _kib_of(text: str, key: str) -> int | None:
    """The number of one line; two of the forty are wanted, so the others are not even split."""
    at = text.find(key)
    end = text.find("\n", at)
    words = text[at + len(key) : end if end >= 0 else None].split() if at >= 0 else []
    if not words or not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 19:
        return None  # absent, or cut off
    kib = int(words[0]) >> 10 if words[1:] == ["B"] else int(words[0])
    return kib if kib < MOST else None


def read_huge_pools(root: Root, folder: str, sizes: list[int]) -> list[tuple[int, int, int | None]]:
    """(size in KiB, pages, free pages) of each of the huge page sizes that the folder has."""
    pools = []
    for size in sizes:
        pool = f"{folder}/{HUGE}{size}kB/"
        total = root.parsed(pool + "nr_hugepages", parse_count)
        if total is not None:
            free = root.parsed(pool + "free_hugepages", parse_count) if total else 0
            pools.append((size, total, free))
    return pools


def read_huge_sizes(root: Root, folder: str) -> list[int]:
    """The huge page sizes of a hugepages folder in KiB, ascending."""
    sizes = []
    for name in root.names(folder) or ():
        digits = name.removeprefix(HUGE).removesuffix("kB")
        if name.startswith(HUGE) and digits.isascii() and digits.isdigit() and len(digits) < 13 and int(digits):
            sizes.append(int(digits))
    return sorted(sizes)


def base_page_kib(arch: str | None, huge_sizes: list[int]) -> int | None:
    """The base page size of a saved tree, which no file holds: by architecture, else by its huge page sizes.

    ARM has kernels of three base page sizes, each with huge pages of its own (kernel: Documentation/arch/arm64/
    hugetlbpage.rst).  None where neither is told: without pools, memory is counted in KiB alone.
    """
    if arch in BASE_PAGE_KIB or not huge_sizes:
        return BASE_PAGE_KIB.get(arch or "")
    return 64 if 524288 in huge_sizes else 16 if 32768 in huge_sizes and 64 not in huge_sizes else 4


BASE_PAGE_KIB = {"x86_64": 4, "i386": 4, "i686": 4, "s390x": 4, "s390": 4, "riscv64": 4, "armv7l": 4, "ppc64": 64}
BASE_PAGE_KIB |= {"ppc64le": 64, "sparc64": 8, "loongarch64": 16, "ia64": 16, "alpha": 8, "armv6l": 4}
