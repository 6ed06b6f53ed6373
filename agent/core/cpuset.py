"""CpuSet: an immutable set of pCPU or vCPU numbers; agent.core.cpulist has its text forms.

Inside is one integer, bit N set when CPU N is a member: union, intersection and counting on a thousand CPUs are a few
machine words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from agent.core.cpulist import HIGHEST_CPU, format_list, parse_list, parse_mask


class CpuSet(Set[int]):
    """An immutable, ordered, hashable set of CPU numbers.

    >>> CpuSet.parse("4-12,^8,15")
    CpuSet('4-7,9-12,15')
    >>> CpuSet.parse("0-3") | [8]
    CpuSet('0-3,8')
    """

    __slots__ = ("mask",)
    mask: int

    def __init__(self, cpus: Iterable[int] = ()) -> None:
        if isinstance(cpus, CpuSet):
            mask = cpus.mask
        elif isinstance(cpus, range) and cpus.step == 1 and 0 <= cpus.start <= cpus.stop <= HIGHEST_CPU:
            mask = (1 << cpus.stop) - (1 << cpus.start)
        else:
            mask = 0
            for cpu in cpus:
                if not 0 <= cpu < HIGHEST_CPU:
                    raise ValueError(f"CPU number {cpu} is not in 0..{HIGHEST_CPU - 1}")
                mask |= 1 << cpu
        object.__setattr__(self, "mask", mask)

    @classmethod
    def of_mask(cls, mask: int) -> CpuSet:
        """The set whose bit N of ``mask`` says whether CPU N is a member."""
        made = object.__new__(cls)
        object.__setattr__(made, "mask", mask)
        return made

    @classmethod
    def parse(cls, text: str) -> CpuSet:
        """Read a kernel CPU list; ``^`` items are taken away from all the others, wherever they stand.

        An empty or blank text is the empty set, as in sysfs.  Raises BadCpuList, which names the text and position.
        """
        return cls.of_mask(parse_list(text))

    @classmethod
    def from_mask(cls, text: str) -> CpuSet:
        """Read a hexadecimal mask: ``0xff``, ``ff`` or the 32-bit words of sysfs, ``00000001,00000000``."""
        return cls.of_mask(parse_mask(text))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("CpuSet is immutable")

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return CpuSet.of_mask, (self.mask,)

    def __contains__(self, cpu: object) -> bool:
        return isinstance(cpu, int) and cpu >= 0 and bool(self.mask >> cpu & 1)

    def __iter__(self) -> Iterator[int]:
        mask = self.mask
        while mask:
            low = mask & -mask
            yield low.bit_length() - 1
            mask ^= low

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __bool__(self) -> bool:
        return self.mask != 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CpuSet):
            return self.mask == other.mask
        if isinstance(other, Set):
            return len(self) == len(other) and all(cpu in self for cpu in other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self))

    def __and__(self, other: Iterable[object]) -> CpuSet:
        if isinstance(other, CpuSet):
            return CpuSet.of_mask(self.mask & other.mask)
        return CpuSet.of_mask(self.mask & _mask_of(cpu for cpu in other if isinstance(cpu, int) and cpu >= 0))

    def __or__(self, other: Iterable[int]) -> CpuSet:  # type: ignore[override]  # a union with other types is no CpuSet
        return CpuSet.of_mask(self.mask | _mask_of(other))

    def __sub__(self, other: Iterable[object]) -> CpuSet:
        return CpuSet.of_mask(self.mask & ~(self & other).mask)

    def __xor__(self, other: Iterable[int]) -> CpuSet:  # type: ignore[override]  # as for __or__
        return CpuSet.of_mask(self.mask ^ _mask_of(other))

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __le__(self, other: Set[object]) -> bool:
        if isinstance(other, CpuSet):
            return self.mask & ~other.mask == 0
        return all(cpu in other for cpu in self)

    def __lt__(self, other: Set[object]) -> bool:
        return len(self) < len(other) and self <= other

    def isdisjoint(self, other: Iterable[object]) -> bool:
        """Whether the two sets have no CPU in common."""
        return not self & other

    def first(self) -> int:
        """The lowest CPU number; ValueError for the empty set."""
        if not self.mask:
            raise ValueError("the empty CpuSet has no first CPU")
        return (self.mask & -self.mask).bit_length() - 1

    def __str__(self) -> str:
        return format_list(self.mask)

    def __repr__(self) -> str:
        return f"CpuSet({format_list(self.mask)!r})"


EMPTY = CpuSet()
"""The set without members."""


def _mask_of(cpus: Iterable[int]) -> int:
    return cpus.mask if isinstance(cpus, CpuSet) else CpuSet(cpus).mask
