"""The texts that one kernel file holds when it holds one value: numbers, CPU sets, cache sizes.

All are pure, and answer a value or BadInput saying what was found; Root.parsed puts the file's name before it.  CPU
sets are int masks here (bit N is CPU N): a report handles thousands of them.
"""

from __future__ import annotations

from agent.core.cpulist import parse_list, parse_mask
from agent.core.errors import BadInput

MOST = 1 << 53
"""Where counts end: every JSON reader holds what is less."""


def is_number(text: str) -> bool:
    """Whether a text is digits that ``int`` takes: ``²``, and five thousand of them, it does not."""
    return text.isascii() and text.isdigit() and len(text) < 20


def parse_number(text: str) -> int:
    """A decimal number, with ``-`` where the kernel means "not known" (``-1``)."""
    if text.isdigit() and len(text) < 20 and text.isascii():  # nearly always, and without a call
        return int(text)
    body = text.strip()
    if not is_number(body.removeprefix("-")):
        raise BadInput(f"not a number: {_shown(body)}")
    return int(body)


def parse_count(text: str) -> int:
    """A number of things, or of KiB: none is negative, or more than the documents hold (agent.core.topology.Size)."""
    number = parse_number(text)
    if not 0 <= number < MOST:
        raise BadInput(f"not a count: {number}; allowed: 0 to {MOST - 1}")
    return number


def parse_id(text: str) -> int | None:
    """A package, die, cluster, book or core id; None where the kernel says that it has none."""
    return known_id(parse_number(text))


def known_id(number: int) -> int | None:
    """None for -1, and for the 16- and 32-bit forms of it that firmware leaves."""
    return None if number < 0 or number in (0xFFFF, 0xFFFFFFFF) else number


def parse_cpu_list(text: str) -> int:
    """A kernel CPU list (``0-3,8``); ``(null)``, which nohz_full says when it is not set, is the empty set."""
    return 0 if text.endswith("(null)") and text.strip() == "(null)" else parse_list(text)


def parse_cpu_mask(text: str) -> int:
    """A kernel CPU mask: 32-bit hexadecimal words, ``00000001,00000000``; the only form on kernels before 2.6.26."""
    return parse_mask(text) if text.strip() else 0


def parse_kib(text: str) -> int:
    """A cache size in KiB: ``32768K``, ``8M``, or plain bytes."""
    body = text.strip()
    factor = {"K": 1, "M": 1 << 10, "G": 1 << 20}.get(body[-1:].upper())
    number = parse_count(body[:-1] if factor else body)
    kib = number * factor if factor else number >> 10
    if kib >= MOST:
        raise BadInput(f"not a size: {_shown(body)}")
    return kib


def parse_stamp(text: str) -> tuple[str | None, int | None]:
    """The two lines of a snapshot's own file: when it was taken, and the base page size in KiB."""
    lines = text.splitlines()
    page_kib = parse_count(lines[1]) if len(lines) == 2 else 0
    if not 0 < page_kib < 1 << 20:
        raise BadInput(f"not a snapshot's stamp: {_shown(text)}; allowed: a line with the time, a line with KiB a page")
    return lines[0].strip() or None, page_kib


def _shown(text: str) -> str:
    if not text:
        return "the file is empty"
    return repr(text if len(text) <= 60 else text[:57] + "...")
