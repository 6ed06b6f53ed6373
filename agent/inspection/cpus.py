"""Which pCPUs there are: sys/devices/system/cpu (kernel: Documentation/admin-guide/cputopology.rst).

A CPU counts when the kernel gives it a folder ``cpuN``: a list alone may come from another machine.
"""

from __future__ import annotations

from agent.core.cpulist import HIGHEST_CPU
from agent.core.errors import BadInput
from agent.inspection.files import Root
from agent.inspection.values import parse_cpu_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "sys/devices/system/cpu"


class Cpus:
    """The host's pCPUs as int masks; ``offline`` has those that are present and not running."""

    __slots__ = ("isolated", "nohz_full", "offline", "online", "unknown")

    def __init__(self, online: int, offline: int, isolated: int | None, nohz_full: int | None) -> None:
        self.online = online
        self.offline = offline
        self.isolated = isolated or 0
        self.nohz_full = nohz_full or 0
        # both came with Linux 3.20; a kernel with the one and without the other was built without tickless CPUs
        self.unknown = ["isolated", "nohz_full"] if isolated is None else []


def read_cpus(root: Root, *, every_switch: bool) -> Cpus | None:
    """Online, offline, isolated and tickless pCPUs; None when the tree has no CPU folder, as in a partial one.

    ``every_switch``: where a kernel has no list of the online CPUs, ask each CPU and not just a few.
    """
    names = root.names(FOLDER) or ()
    folders = parse_folders(names)
    if not folders:
        return None
    files = frozenset(names)

    def mask(name: str) -> int | None:
        return root.parsed(f"{FOLDER}/{name}", parse_cpu_list) if name in files else None

    online, present = mask("online"), mask("present")
    if present is None or (online is not None and online & ~folders):
        present = folders if present is None else present & folders
    online = _online_by_cpu(root, folders, every_switch=every_switch) if online is None else online & folders
    if not online:
        raise BadInput(f"{root.prefix}{FOLDER}/online: none of the CPUs that have a folder {FOLDER}/cpuN is online")
    return Cpus(online, present & ~online, mask("isolated"), mask("nohz_full"))


def parse_folders(names: list[str] | tuple[str, ...]) -> int:
    """The CPUs that have a folder ``cpuN``, from the names in the CPU folder (or in a cell's, where they are links)."""
    found = 0
    for name in names:
        digits = name[3:]
        if name.startswith("cpu") and digits.isascii() and digits.isdigit() and len(digits) < 7:
            number = int(digits)
            if number < HIGHEST_CPU:
                found |= 1 << number
    return found


def lowest(mask: int) -> int:
    """The lowest CPU of a mask that is not empty."""
    return (mask & -mask).bit_length() - 1


def bits(mask: int) -> Iterator[int]:
    """The CPUs of a mask, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _online_by_cpu(root: Root, folders: int, *, every_switch: bool) -> int:
    """Before 2.6.26 there is no list; a CPU without a switch of its own cannot be taken offline.

    A kernel with CPU hot-plug gives each CPU one, save the boot CPU and on ia64 one more; so where the last two and
    the one in the middle have none, none has.
    """
    numbers = list(bits(folders))
    few = every_switch or len(numbers) < 4
    samples = set() if few else {numbers[len(numbers) // 2], numbers[-2], numbers[-1]}
    read = {cpu: root.line(f"{FOLDER}/cpu{cpu}/online") for cpu in sorted(samples)}
    if samples and not any(read.values()):
        return folders
    online = folders
    for cpu in numbers:
        if (read[cpu] if cpu in read else root.line(f"{FOLDER}/cpu{cpu}/online")) == "0":
            online ^= 1 << cpu
    return online
