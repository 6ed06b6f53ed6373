"""The text forms of a CPU set, and the int mask that both stand for: bit N set when CPU N is a member.

The list format is the kernel's (Documentation/admin-guide/kernel-parameters.rst, "cpu lists"): ``0-3,8``, with
``0-31:2`` and ``0-31:2/8`` for strides and groups, plus libvirt's and Nova's ``^N`` and ``^N-M`` exclusion.  On input,
hexadecimal masks (``0x0f`` or sysfs' comma-separated ``ff,ffffffff`` words) are read too.

Who handles thousands of sets, or starts in a millisecond, works with these; everybody else with CpuSet.
"""

from __future__ import annotations

from agent.core.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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


def format_list(mask: int) -> str:
    """Kernel list text of a mask: ranges as ``a-b``, neighbours joined, ascending."""
    if mask and not mask & (mask - 1):
        return str(mask.bit_length() - 1)  # a pin, most often
    parts = []
    while mask:
        low = mask & -mask
        rest = mask + low  # the carry ends behind the run, where no CPU is
        first, after = low.bit_length() - 1, (mask ^ rest).bit_length() - 1
        parts.append(str(first) if after == first + 1 else f"{first}-{after - 1}")
        mask &= rest
    return ",".join(parts)


def format_ids(ids: Iterable[int]) -> str:
    """The same text for other ids: firmware numbers sockets as it likes (65539 on ia64)."""
    parts: list[str] = []
    first = last = -2
    for number in [*sorted(set(ids)), -2]:
        if number != last + 1:
            if last >= 0:
                parts.append(str(first) if first == last else f"{first}-{last}")
            first = number
        last = number
    return ",".join(parts)


def parse_mask(text: str) -> int:
    """As CpuSet.from_mask, for who handles thousands of masks: bit N of the answer is CPU N."""
    mask = _mask_as_written(text)
    if mask is None:
        words = text.strip().removeprefix("0x").split(",")
        for number, word in enumerate(words):
            if not word or word.strip(HEXADECIMAL) or (len(word) > 8 and len(words) > 1):
                raise BadCpuList(text, text.find(word), f"word {number} is not a hexadecimal mask")
        mask = int("".join(word.zfill(8) for word in words), 16)
    if mask.bit_length() > HIGHEST_CPU:
        raise BadCpuList(text, 0, f"CPU numbers end at {HIGHEST_CPU - 1}")
    return mask


def _mask_as_written(text: str) -> int | None:
    """The mask in words of eight digits, as the kernel writes it; None for every other text."""
    digits = text.replace(",", "")
    commas = len(text) - len(digits)
    if text[8::9] != "," * commas or len(digits) != 8 * commas + 8:
        return None
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        return None
    return int.from_bytes(data, "big") if 2 * len(data) == len(digits) else None  # fromhex passes over blanks


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
