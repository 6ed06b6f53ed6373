"""CpuSet: an immutable set of pCPU or vCPU numbers, and its text forms.

The text form is the kernel's list format (Documentation/admin-guide/kernel-parameters.rst, "cpu lists"):
``0-3,8``, with ``0-31:2`` and ``0-31:2/8`` for strides and groups, plus libvirt's and Nova's ``^N`` and ``^N-M``
exclusion.  On input, hexadecimal masks (``0x0f`` or sysfs' comma-separated ``ff,ffffffff`` words) are read by
:meth:`CpuSet.from_mask`.

Inside is one integer, bit N set when CPU N is a member: union, intersection and counting on a thousand CPUs are a few
machine words.  No typing, re or msgspec here: every start of the command pays for this module.
"""

from __future__ import annotations

from _collections_abc import Iterable, Iterator, Set

from agent.core.errors import BadInput

HIGHEST_CPU = 1 << 16
"""CPU numbers from here on are refused: the kernel's largest NR_CPUS is 8,192; a typo must not allocate gigabytes."""

HEXADECIMAL = "0123456789abcdefABCDEF"


class BadCpuList(BadInput):
    """A text that is no CPU list; ``text`` is the whole of it and ``position`` where reading stopped."""

    def __init__(self, text: str, position: int, why: str) -> None:
        shown = text if len(text) <= 80 else text[:77] + "..."
        super().__init__(f"not a CPU list: {shown!r}, at position {position}: {why}")
        self.text = text
        self.position = position


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


def format_list(mask: int) -> str:
    """Kernel list text of a mask: ranges as ``a-b``, neighbours joined, ascending."""
    if mask and not mask & (mask - 1):
        return str(mask.bit_length() - 1)  # a pin, most often
    parts = []
    base = 0
    while mask:
        gap = (mask & -mask).bit_length() - 1
        mask >>= gap
        base += gap
        run = (~mask & (mask + 1)).bit_length() - 1
        parts.append(str(base) if run == 1 else f"{base}-{base + run - 1}")
        mask >>= run
        base += run
    return ",".join(parts)


def parse_mask(text: str) -> int:
    """As CpuSet.from_mask, for who handles thousands of masks: bit N of the answer is CPU N."""
    words = text.strip().removeprefix("0x").split(",")
    digits = "".join(words)
    whole = len(words) == 1 or (len(words[0]) <= 8 and {*map(len, words[1:])} == {8})  # as the kernel writes them
    if not whole or not digits or digits.strip(HEXADECIMAL):
        for number, word in enumerate(words):
            if not word or word.strip(HEXADECIMAL) or (len(word) > 8 and len(words) > 1):
                raise BadCpuList(text, text.find(word), f"word {number} is not a hexadecimal mask")
        digits = "".join(word.zfill(8) for word in words)
    mask = int(digits, 16)
    if mask.bit_length() > HIGHEST_CPU:
        raise BadCpuList(text, 0, f"CPU numbers end at {HIGHEST_CPU - 1}")
    return mask


def parse_list(text: str) -> int:
    """As CpuSet.parse, for who handles thousands of lists: bit N of the answer is CPU N."""
    mask = 0
    if text.isascii():
        for item in text.split(","):  # what the kernel writes; everything else goes the long way
            low, dash, high = item.partition("-")
            if not low.isdigit() or len(item) > 9 or (dash and not high.isdigit()):
                return _parse_list(text)
            first = int(low)
            last = int(high) if dash else first
            if not first <= last < HIGHEST_CPU:
                return _parse_list(text)
            mask |= (2 << last) - (1 << first)
        return mask
    return _parse_list(text)


def _mask_of(cpus: Iterable[int]) -> int:
    return cpus.mask if isinstance(cpus, CpuSet) else CpuSet(cpus).mask


def _parse_list(text: str) -> int:
    body = text.strip(" \t\n")
    if not body:
        return 0
    wanted = unwanted = position = 0
    for item in body.split(","):
        start = text.find(body) + position
        position += len(item) + 1
        item_text = item.strip(" \t")
        start += len(item) - len(item.lstrip(" \t"))
        if item_text.startswith("^"):
            unwanted |= _parse_item(item_text[1:], text, start + 1)
        else:
            wanted |= _parse_item(item_text, text, start)
    return wanted & ~unwanted


def _parse_item(item: str, text: str, at: int) -> int:
    """One ``N``, ``N-M``, ``N-M:S`` or ``N-M:K/S`` as a mask; ``at`` is its position in ``text``."""
    head, colon, stride_text = item.partition(":")
    low_text, dash, high_text = head.partition("-")
    low = _number(low_text, text, at)
    high = _number(high_text, text, at + len(low_text) + 1) if dash else low
    if high < low:
        raise BadCpuList(text, at, f"the range {head} runs backwards")
    mask = (1 << high + 1) - (1 << low)
    if not colon:
        return mask
    at_stride = at + len(head) + 1
    if not dash:
        raise BadCpuList(text, at_stride, "a stride needs a range before it, as in 0-31:2")
    used_text, slash, group_text = stride_text.partition("/")
    used = _number(used_text, text, at_stride)
    group = _number(group_text, text, at_stride + len(used_text) + 1) if slash else used
    if not slash:
        used = 1
    if not 0 < used <= group:
        raise BadCpuList(text, at_stride, "a stride is at least 1, and in K/S K is at most S")
    pattern = 0
    for first in range(low, high + 1, group):
        pattern |= ((1 << used) - 1) << first
    return mask & pattern


def _number(text: str, whole: str, at: int) -> int:
    if not text:
        raise BadCpuList(whole, at, "a CPU number is missing")
    if not (text.isascii() and text.isdigit()):
        raise BadCpuList(whole, at, f"{text!r} is not a CPU number")
    if len(text) > 9 or int(text) >= HIGHEST_CPU:
        raise BadCpuList(whole, at, f"{text} is too large: CPU numbers end at {HIGHEST_CPU - 1}")
    return int(text)
