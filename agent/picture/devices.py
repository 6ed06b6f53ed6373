"""Devices by cell: in few words, or a row each."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.topology import Device, HostTopology


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


def render_devices(host: HostTopology) -> str:
    """A row a device, by cell; ``?`` is an unknown cell."""
    heads = ("cell", "kind", "name", "address", "vendor:product", "root complex", "group", "function of")
    rows: list[tuple[str, ...]] = [heads]
    for cell, devices in [*((str(cell.id), cell.devices) for cell in host.cells), ("?", host.unplaced_devices)]:
        for device in devices:
            ids = f"{device.vendor}:{device.product}" if device.vendor and device.product else None
            group = None if device.iommu_group is None else str(device.iommu_group)
            facts = (device.name, device.pci, ids, device.root, group, device.physical_function)
            rows.append((cell, device.kind, *(fact or "-" for fact in facts)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    lines = ["  ".join(f"{value:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"
