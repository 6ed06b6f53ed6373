"""Sizes as people and kernels write them, to and from KiB."""

from __future__ import annotations

from agent.core.errors import BadInput

_FACTORS_KIB = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}


def parse_size_kib(text: str) -> int:
    """KiB of ``2048`` (KiB already), ``2M``, ``16G``, ``1GiB``, ``2MB``, ``512KiB``; powers of two throughout.

    Raises BadInput with what was found and what is allowed.
    """
    body = text.strip()
    digits = body.rstrip("KMGTkmgtiBb ")
    unit = body[len(digits) :].strip().upper().removesuffix("B").removesuffix("I") or "K"
    if not (digits.isascii() and digits.isdigit()) or unit not in _FACTORS_KIB or len(digits) > 15:
        raise BadInput(
            f"not a size: {text!r}; allowed: a number with K, M, G or T, such as 2M or 16GiB; no unit is KiB"
        )
    kib = int(digits) * _FACTORS_KIB[unit]
    if kib >= 1 << 53:
        raise BadInput(f"too large a size: {text!r}; allowed: less than {format_kib(1 << 53)}")
    return kib


def format_exact_kib(kib: int) -> str:
    """As ``format_kib``, in the largest unit that needs no rounding: ``1025 MiB``."""
    for unit, factor in (("TiB", 1 << 30), ("GiB", 1 << 20), ("MiB", 1 << 10)):
        if kib >= factor and kib % factor == 0:
            return f"{kib // factor} {unit}"
    return f"{kib} KiB"


def format_kib(kib: int) -> str:
    """``4 KiB``, ``2 MiB``, ``190.7 GiB``: the largest binary unit that keeps the number at or above one."""
    for unit, factor in (("TiB", 1 << 30), ("GiB", 1 << 20), ("MiB", 1 << 10)):
        if kib >= factor:
            return f"{kib // factor} {unit}" if kib % factor == 0 else f"{kib / factor:.1f} {unit}"
    return f"{kib} KiB"
