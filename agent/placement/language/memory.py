"""Page size, locked memory and the binding of memory to cells."""

from __future__ import annotations

import re

from agent.core.errors import BadRequest
from agent.core.guest import PageWish
from agent.core.policy import MemPolicy
from agent.placement.language.specs import Specs, one_of, yes_or_no

PAGE_SIZES = "small, large, any, a number of KiB, or a size such as 2MB or 1GB"
_SIZE = re.compile(r"([0-9]{1,12}|[0-9]{0,12}\.[0-9]{1,6})([KMGT]?)(?:i?)(b|bit|B)")
_FACTOR_KIB = {"": 1 / 1024, "K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
HIGHEST_PAGE_KIB = 1 << 30


def parse_page(specs: Specs) -> int | PageWish | None:
    """``hw:mem_page_size``: KiB or a wish.  An image may narrow ``large`` and ``any``, and nothing else."""
    flavor, image = specs.pair("mem_page_size")
    if not flavor:
        if image:
            raise BadRequest(
                "hw_mem_page_size", image, "an image may name a page size only where the flavor says large or any"
            )
        return None
    wish = _page_size("hw:mem_page_size", flavor)
    if not image:
        return wish
    if wish not in (PageWish.LARGE, PageWish.ANY):
        raise BadRequest(
            "hw_mem_page_size", image, f"the flavor says hw:mem_page_size={flavor}, and the image may not differ"
        )
    return _page_size("hw_mem_page_size", image)


def _page_size(key: str, text: str) -> int | PageWish:
    if text in list(PageWish):
        return PageWish(text)
    if text.isascii() and text.isdigit() and len(text) <= 12:
        size: float = int(text)
    else:
        found = _SIZE.fullmatch(text)
        if not found:
            raise BadRequest(key, text, "is no page size", allowed=PAGE_SIZES)
        size = float(found[1]) * _FACTOR_KIB[found[2]] / (8 if found[3] == "bit" else 1)
    if size != int(size) or not 0 < size <= HIGHEST_PAGE_KIB:
        raise BadRequest(key, text, "is no page size that a host could have", allowed=PAGE_SIZES)
    return int(size)


def parse_locked(specs: Specs, page: int | PageWish | None) -> bool:
    """``hw:locked_memory``: needs a page size; flavor and image may not differ.  Encrypted memory is locked too."""
    flavor_text, image_text = specs.pair("locked_memory")
    flavor = yes_or_no("hw:locked_memory", flavor_text)
    image = yes_or_no("hw_locked_memory", image_text)
    if flavor is not None and image is not None and flavor != image:
        raise BadRequest("hw_locked_memory", image_text, f"the flavor says hw:locked_memory={flavor_text}")
    if (flavor or image) and page is None:
        raise BadRequest("hw:locked_memory" if flavor else "hw_locked_memory", "yes", "needs hw:mem_page_size")
    return bool(flavor or image or _encrypted(specs))


def _encrypted(specs: Specs) -> bool:
    """``hw:mem_encryption``: flavor and image may not differ, and the image must boot by UEFI, on q35 if it says."""
    flavor_text, image_text = specs.pair("mem_encryption")
    flavor = yes_or_no("hw:mem_encryption", flavor_text)
    image = yes_or_no("hw_mem_encryption", image_text)
    if not flavor and not image:
        return False
    if flavor is not None and image is not None and flavor != image:
        raise BadRequest("hw_mem_encryption", image_text, f"the flavor says hw:mem_encryption={flavor_text}")
    firmware, machine = specs.image.get("hw_firmware_type"), specs.image.get("hw_machine_type")
    if firmware != "uefi":
        raise BadRequest("hw_firmware_type", firmware or "absent", "does not go with encrypted memory", allowed="uefi")
    if machine and "q35" not in machine:
        raise BadRequest("hw_machine_type", machine, "does not go with encrypted memory", allowed="q35")
    return True


def parse_mempolicy(specs: Specs) -> MemPolicy:
    """``hw:numa_mempolicy``: strict, as Nova always binds, unless said otherwise."""
    flavor_text, image_text = specs.pair("numa_mempolicy")
    flavor = one_of(MemPolicy, "hw:numa_mempolicy", flavor_text)
    image = one_of(MemPolicy, "hw_numa_mempolicy", image_text)
    if flavor and image and flavor != image:
        raise BadRequest(
            "hw_numa_mempolicy", image, f"the flavor says hw:numa_mempolicy={flavor}, and the image may not differ"
        )
    return flavor or image or MemPolicy.STRICT
