"""Network, storage and GPU devices, and whatever else a guest could be given, each with its cell.

Read from ``/sys/bus/pci/devices``: two small files a device, ``modalias``, which holds vendor, product and class at
once, and ``numa_node`` (Documentation/ABI/testing/sysfs-bus-pci), and links for everything else; where a tree was saved
without the first, ``class``, ``vendor`` and ``device``.  Bridges, memory controllers and performance counters are
passed over.  Plain dicts and no imports of weight: ``topology`` reads this.
"""

from __future__ import annotations

from agent.core.cpulist import HEXADECIMAL
from agent.inspection.files import Root

_CLASSES = ("sys/class/net", "sys/class/infiniband", "sys/class/block", "sys/class/drm")
_OLDER_BLOCK = "sys/block"
_KINDS = {0x01: "storage", 0x02: "net", 0x03: "gpu"}
_INFINIBAND = (0x0C, 0x06)
_PASSED_OVER = (0x05, 0x06, 0x08, 0x11)
"""PCI base classes that are part of the host: memory, bridges, system peripherals, signal processing (counters)."""

_Plain = dict[str, str | int | None]


def read_devices(
    root: Root, unknown: list[str], *, folder: str, addresses: list[str]
) -> list[tuple[int | None, _Plain]]:
    """Every device as (cell or None, the fields of a Device document), by PCI address.

    ``addresses`` are the names in ``folder``, sys/bus/pci/devices.  The cell is None where the kernel says -1 or
    nothing.  A device that vanishes while being read is left out; where none tells what it is, ``unknown`` says so.
    """
    names: dict[str, list[str]] | None = None
    found = []
    has_alias, identified = True, 0
    for address in addresses:
        path = f"{folder}/{address}"
        identity = parse_modalias(root.line(f"{path}/modalias")) if has_alias else None
        if identity is None:
            identity = _identity_of_files(root, path)
            has_alias = has_alias and identity is None
        if identity is None:
            continue
        identified += 1
        if identity[2] in _PASSED_OVER:
            continue
        if names is None:
            names = _names(root)
        vendor, product, base, sub = identity
        kind = "net" if (base, sub) == _INFINIBAND else _KINDS.get(base, "other")
        group = _last(root.link(f"{path}/iommu_group"))
        device: _Plain = {
            "kind": kind,
            "name": _readable(",".join(names.get(address, ()))),
            "pci": _readable(address),
            "vendor": vendor,
            "product": product,
            "root": _readable(_root_complex(root.link(path))),
            "iommu_group": _number(group),
            "physical_function": _readable(_last(root.link(f"{path}/physfn"))),
        }
        found.append((_number(root.line(f"{path}/numa_node")), device))
    if not identified:
        unknown.append("devices (no file tells their class)")
    found.sort(key=lambda item: address_key(str(item[1]["pci"])))
    return found


def place_devices(
    devices: list[tuple[int | None, _Plain]], cells: list[int]
) -> tuple[dict[int, list[_Plain]], list[_Plain]]:
    """The devices of each cell, and those whose cell is unknown.

    Only where the host has a single cell is an unknown one certain to be that one.
    """
    placed: dict[int, list[_Plain]] = {cell: [] for cell in cells}
    unplaced = []
    for cell, device in devices:
        if cell is None and len(cells) == 1:
            cell = cells[0]
        if cell in placed:
            placed[cell].append(device)
        else:
            unplaced.append(device)
    return placed, unplaced


def parse_modalias(text: str | None) -> tuple[str, str, int, int] | None:
    """Vendor and product in hexadecimal, base class and subclass, of ``pci:v00008086d0000159B…bc02sc00i00``.

    None for any other text.
    """
    if text is None or not text.startswith("pci:v"):
        return None
    body = text.strip()
    vendor, d, product = body[5:13], body[13:14], body[14:22]
    at = body.find("bc", 22)
    try:
        vendor_id, product_id = int(vendor, 16), int(product, 16)
        base, sub = int(body[at + 2 : at + 4], 16), int(body[at + 6 : at + 8], 16)
    except ValueError:
        return None
    if d != "d" or at < 0 or min(vendor_id, product_id) < 0:
        return None
    return f"{vendor_id:04x}", f"{product_id:04x}", base, sub


def parse_hexadecimal(text: str | None) -> int | None:
    """The number of ``0x8086``; None for any other text."""
    digits = "" if text is None else text.strip().removeprefix("0x")
    return int(digits, 16) if digits and len(digits) < 9 and not digits.strip(HEXADECIMAL) else None


def address_key(address: str) -> tuple[int, ...] | tuple[int, int, str]:
    """Order of PCI addresses by domain, bus, slot and function; other names after them."""
    try:
        return (0, *(int(part, 16) for part in address.replace(".", ":").split(":")))
    except ValueError:
        return (1, 0, address)


def _identity_of_files(root: Root, path: str) -> tuple[str, str, int, int] | None:
    """As parse_modalias, from a file each; vendor and product are not read of what is passed over."""
    number = parse_hexadecimal(root.line(f"{path}/class"))
    if number is None:
        return None
    base, sub = number >> 16 & 0xFF, number >> 8 & 0xFF
    if base in _PASSED_OVER:
        return "", "", base, sub
    vendor = parse_hexadecimal(root.line(f"{path}/vendor"))
    product = parse_hexadecimal(root.line(f"{path}/device"))
    return None if vendor is None or product is None else (f"{vendor:04x}", f"{product:04x}", base, sub)


def _names(root: Root) -> dict[str, list[str]]:
    """PCI address → the names that the kernel's classes give to what hangs on it; partitions are left out."""
    names: dict[str, list[str]] = {}
    for folder in _CLASSES:
        entries = root.names(folder) or []
        if not entries and folder.endswith("block"):
            folder, entries = _OLDER_BLOCK, root.names(_OLDER_BLOCK) or []
        for entry in entries:
            if folder.endswith("drm") and not entry.removeprefix("card").isdigit():
                continue  # renderD128 and card0-HDMI-A-1 are parts of card0
            parts = (root.link(f"{folder}/{entry}") or root.link(f"{folder}/{entry}/device") or "").split("/")
            address = next((part for part in reversed(parts) if is_address(part)), None)
            if address is not None and not (folder.endswith("block") and parts[-2] in entries):
                names.setdefault(address, []).append(entry)
    return names


def _readable(name: str | None) -> str | None:
    """A name with U+FFFD for bytes that are no UTF-8: the kernel lets an interface have any but a few."""
    if name is None or name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_address(text: str) -> bool:
    """Whether a text looks like ``0000:3b:00.0``; domains have four to eight digits."""
    return len(text) >= 12 and text[-2:-1] == "." and text[-5:-4] == ":" and text[-8:-7] == ":"


def _root_complex(target: str | None) -> str | None:
    parts = [] if target is None else target.split("/")
    return next((part for part in parts if part.startswith("pci") and ":" in part), None)


def _number(text: str | None) -> int | None:
    body = "" if text is None else text.strip()
    return int(body) if body.isascii() and body.isdigit() and len(body) < 7 else None


def _last(target: str | None) -> str | None:
    return None if target is None else target.rpartition("/")[2]
