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
    return _table(rows)


def render_interfaces(host: HostTopology, interfaces: Sequence[tuple[str, str | None, str, int, int]]) -> str:
    """A row a network interface (name, parent device, state, MTU, virtual functions) with its cell and PCI address."""
    homes = {
        name: (cell, device.pci or "-")
        for cell, devices in [*((str(cell.id), cell.devices) for cell in host.cells), ("?", host.unplaced_devices)]
        for device in devices
        for name in device.name.split(",")
    }
    rows = [("interface", "cell", "address", "parent", "state", "mtu", "virtual functions")]
    for name, parent, state, mtu, functions in interfaces:
        cell, address = homes.get(name, ("-", "-"))
        rows.append((name, cell, address, parent or "-", state, str(mtu), str(functions)))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(f"{value:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"
