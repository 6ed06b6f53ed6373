"""``cw:cachetune`` and ``cw:memorytune``: parts of the L3 caches and of the memory bandwidth, for all vCPUs or some.

Entries stand apart by ``;``.  Each is ``VCPUS=VALUE``, or the value alone for all vCPUs: ``0-3=4M;4-7=2M code`` and
``0-3=50``.  Source: https://libvirt.org/formatdomain.html#cpu-tuning; the kernel's Documentation/arch/x86/resctrl.rst.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, BadRequest
from agent.core.guest import BandwidthWish, CacheWish
from agent.core.units import parse_size_kib
from agent.placement.language.specs import Specs, cpu_list, words

CACHE, BANDWIDTH = "cw:cachetune", "cw:memorytune"
SIZES = "[VCPUS=]SIZE[ code| data], such as 4M or 0-3=4M;4-7=2M code;4-7=1M data"
PERCENTS = "[VCPUS=]PERCENT from 1 to 100, such as 50 or 0-3=50;4-7=20"


def parse_shares(specs: Specs) -> tuple[tuple[CacheWish, ...], tuple[BandwidthWish, ...]]:
    """Both wishes.  Two entries name the same vCPUs or none in common: a thread is in one resctrl group alone."""
    caches: list[CacheWish] = []
    for entry, vcpus, value in _entries(specs, CACHE, SIZES):
        wish = _cache_wish(entry, vcpus, value)
        same = {other.type for other in caches if other.vcpus == vcpus}
        if same and ("both" in same or wish.type == "both" or wish.type in same):
            raise BadRequest(CACHE, entry, f"vCPUs {vcpus} have a part already", allowed="one, or code and data apart")
        caches.append(wish)
    bandwidths = [
        BandwidthWish(vcpus, _percent(entry, value)) for entry, vcpus, value in _entries(specs, BANDWIDTH, PERCENTS)
    ]
    if len({wish.vcpus for wish in bandwidths}) < len(bandwidths):
        raise BadRequest(BANDWIDTH, specs.flavor[BANDWIDTH], "names the same vCPUs twice")
    _check_groups(specs, [wish.vcpus for wish in caches], [wish.vcpus for wish in bandwidths])
    return tuple(caches), tuple(bandwidths)


def _entries(specs: Specs, key: str, allowed: str) -> Iterator[tuple[str, CpuSet, str]]:
    """Each entry as it stands, its vCPUs, and what is behind the ``=``."""
    everyone = CpuSet(range(specs.vcpus))
    for entry in (specs.flavor.get(key) or "").split(";"):
        text = entry.strip()
        if not text:
            continue
        left, equals, right = text.rpartition("=")
        vcpus = cpu_list(key, left) if equals else everyone
        if not vcpus <= everyone:
            raise BadRequest(key, text, words(vcpus, specs.vcpus))
        if not vcpus or not right.strip():
            raise BadRequest(key, text, "is no entry", allowed=allowed)
        yield text, vcpus, right.strip()


def _cache_wish(entry: str, vcpus: CpuSet, value: str) -> CacheWish:
    size, blank, kind = value.partition(" ")
    try:
        size_kib = parse_size_kib(size)
    except BadInput as why:
        raise BadRequest(CACHE, entry, f"{size!r} is no size", allowed=SIZES) from why
    if not size_kib:
        raise BadRequest(CACHE, entry, "is nothing", allowed=SIZES)
    if not blank:
        return CacheWish(vcpus, size_kib)
    if kind.strip() == "code":
        return CacheWish(vcpus, size_kib, "code")
    if kind.strip() == "data":
        return CacheWish(vcpus, size_kib, "data")
    raise BadRequest(CACHE, entry, f"{kind.strip()!r} is no type of cache", allowed=SIZES)


def _percent(entry: str, value: str) -> int:
    digits = value.removesuffix("%")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 4 and 1 <= int(digits) <= 100):
        raise BadRequest(BANDWIDTH, entry, f"{value!r} is no share", allowed=PERCENTS)
    return int(digits)


def _check_groups(specs: Specs, caches: list[CpuSet], bandwidths: list[CpuSet]) -> None:
    groups = [*caches, *bandwidths]
    for number, vcpus in enumerate(groups):
        for other in groups[:number]:
            if vcpus != other and vcpus & other:
                key = CACHE if number < len(caches) else BANDWIDTH
                raise BadRequest(
                    key,
                    specs.flavor[key],
                    f"vCPUs {vcpus} and {other} overlap",
                    allowed="entries for the very same vCPUs, or for different ones",
                )
