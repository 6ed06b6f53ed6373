"""The little language of extra specs that are matched against host facts and aggregate metadata.

``= 4`` means "at least 4" (a historical accident of OpenStack that flavors rely on); ``==``, ``!=``, ``<=``, ``>=``
compare numbers, ``s==`` … ``s>=`` compare text, ``<in>`` looks for a substring, ``<all-in>`` for several, ``<or>``
lists alternatives; a value without an operator must be equal as text.  Source: OpenStack compute "Flavors",
extra-spec operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def matches(value: Any, wanted: str) -> bool:
    """Whether a fact satisfies an extra spec's text; a number that is none never does."""
    words = wanted.split()
    if not words:
        return bool(value == wanted)
    head, rest = words[0], words[1:]
    if head == "<or>":
        return value is not None and str(value) in rest[::2]
    if head in ("<in>", "<all-in>"):
        wanted_words = rest if head == "<all-in>" else rest[:1]
        return value is not None and bool(rest) and all(word in value for word in wanted_words)
    if head in _NUMBERS:
        return bool(rest) and _compare_numbers(_NUMBERS[head], value, rest[0])
    if head in _TEXTS:
        return value is not None and bool(rest) and _TEXTS[head](str(value), rest[0])
    return bool(value == wanted)


def _compare_numbers(compare: Callable[[float, float], bool], value: Any, wanted: str) -> bool:
    try:
        return compare(float(value), float(wanted))
    except (TypeError, ValueError):
        return False
