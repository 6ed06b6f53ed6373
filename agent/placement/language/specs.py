"""A request's flavor extra specs and image properties, read with errors that name key, value and what is allowed.

Every reader answers None for what is not there; an empty text is "not there", as in Nova.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from agent.core.cpulist import BadCpuList
from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.request import Request, spec_text

E = TypeVar("E", bound=StrEnum)

TRUE_WORDS = ("1", "t", "true", "on", "y", "yes")
FALSE_WORDS = ("0", "f", "false", "off", "n", "no")


class Specs:
    """Text of ``hw:…`` extra specs and ``hw_…`` image properties of one request."""

    __slots__ = ("flavor", "image", "vcpus")

    def __init__(self, request: Request) -> None:
        self.flavor = {key: spec_text(value) for key, value in request.flavor.extra_specs.items()}
        self.image = {key: spec_text(value) for key, value in request.image.properties.items()}
        self.vcpus = request.flavor.vcpus

    def pair(self, name: str) -> tuple[str | None, str | None]:
        """The flavor's ``hw:name`` and the image's ``hw_name``."""
        return self.flavor.get("hw:" + name) or None, self.image.get("hw_" + name) or None


def one_of(kind: type[E], key: str, text: str | None) -> E | None:
    """The policy that ``text`` spells; case counts, as in Nova."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise BadRequest(key, text, "is no such policy", allowed=", ".join(kind)) from None


def whole_number(key: str, text: str | None, *, least: int = 1, most: int = 1 << 31) -> int | None:
    """As ``number_of``; None where nothing is said."""
    return None if text is None else number_of(key, text, least=least, most=most)


def number_of(key: str, text: str, *, least: int = 1, most: int = 1 << 31) -> int:
    """A decimal integer from ``least`` to ``most``, without sign, blanks or leading zeros."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise BadRequest(key, text, "is no whole number", allowed=f"{least} and up")
    if len(text) > 12 or not least <= int(text) <= most:
        raise BadRequest(key, text, "is out of range", allowed=f"{least} to {most}")
    return int(text)


def yes_or_no(key: str, text: str | None) -> bool | None:
    """A boolean in the words OpenStack reads."""
    if text is None:
        return None
    word = text.strip().lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise BadRequest(key, text, "is neither yes nor no", allowed="true, yes, on, 1 or false, no, off, 0")
    return word in TRUE_WORDS


def cpu_list(key: str, text: str) -> CpuSet:
    """A CPU list of vCPUs; stray commas and blanks are no error, as in Nova."""
    items = ["-".join(part.strip() for part in item.split("-", 1)) for item in text.split(",") if item.strip()]
    try:
        return CpuSet.parse(",".join(items))
    except BadCpuList as why:
        raise BadRequest(key, text, str(why), allowed="a CPU list such as 0-3,8 or ^0-1") from why


def vcpu_mask(key: str, text: str, vcpus: int) -> CpuSet:
    """A CPU list that names vCPUs, or with ``^`` first, all vCPUs but those."""
    return cpu_list(key, f"0-{vcpus - 1},{text}" if text.strip().startswith("^") else text)


def words(cpus: CpuSet, vcpus: int) -> str:
    """How an error speaks of vCPUs that the flavor does not have."""
    return f"names vCPUs {cpus - CpuSet(range(vcpus))}, and the flavor has {vcpus}: 0 to {vcpus - 1}"
