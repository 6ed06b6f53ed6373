"""A cell's devices in few words: virtual functions at their physical one, nameless odds and ends together."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.topology import Device


def gather_devices(devices: Sequence[Device]) -> list[tuple[str, str, str]]:
    """(kind, words, everything known) of each device or group, in the order given, odds and ends last."""
    present = {device.pci for device in devices}
    functions: dict[str, int] = {}
    for device in devices:
        if device.physical_function:
            functions[device.physical_function] = functions.get(device.physical_function, 0) + 1
    gathered = []
    others = 0
    for device in devices:
        if device.physical_function in present and device.physical_function:
            continue
        if device.kind == "other" and not device.name:
            others += 1
            continue
        count = functions.get(device.pci or "", 0)
        more = f" + {count} VF{'s' if count > 1 else ''}" if count else ""
        ids = f"{device.vendor}:{device.product}" if device.vendor and device.product else ""
        title = " ".join(part for part in (device.kind, device.name, device.pci, ids, device.root) if part)
        gathered.append((device.kind, (device.name or device.pci or "?") + more, title))
    if others:
        words = f"{others} other" + ("s" if others > 1 else "")
        gathered.append(("other", words, f"{words}, neither network nor storage nor graphics"))
    return gathered
