"""Which host devices a guest gets, given its cells, and how well near they are."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.guest import DeviceWish, GuestTopology
from agent.core.placement import PlacedDevice
from agent.core.policy import PciAffinity
from agent.core.topology import Device
from agent.placement.room import Room

LOCAL, LOOSE, REMOTE = 0, 1, 2
"""On a chosen cell; on no cell that the kernel knows; on another cell."""


def matches(device: Device, alias: str) -> bool:
    """Whether a device answers to an alias: its kind (``gpu``), its name, its PCI address, or ``vendor.product``."""
    return device.pci is not None and alias in (
        device.kind,
        device.name,
        device.pci,
        f"{device.vendor}.{device.product}",
    )


def choose_devices(
    room: Room, guest: GuestTopology, chosen: Sequence[int]
) -> tuple[tuple[PlacedDevice, ...], int] | DeviceWish:
    """The guest's devices, nearest first, and how many are not local; or the wish that cannot be met.

    ``required``: local ones only.  ``legacy``: local, or of no known cell.  ``socket``: local, or on a cell of the same
    socket.  ``preferred``: any.
    """
    offered = _offered(room, guest, chosen)
    given: list[PlacedDevice] = []
    remote = 0
    for wish in guest.devices:
        mine = [offer for offer in offered if matches(offer[2], wish.alias) and offer[1] not in given]
        if len(mine) < wish.count:
            return DeviceWish(wish.alias, len(mine))
        for distance, placed, _ in mine[: wish.count]:
            remote += distance
            given.append(placed)
    return tuple(given), remote


def _offered(room: Room, guest: GuestTopology, chosen: Sequence[int]) -> list[tuple[int, PlacedDevice, Device]]:
    """Free devices that the affinity policy allows, nearest first."""
    layout = room.layout
    near = set(chosen) if guest.cells else set(range(len(layout.cells)))
    sockets = frozenset().union(*(layout.cells[index].sockets for index in near)) - {None}
    there: list[tuple[int, int | None, Device]] = []
    for cell in layout.cells:
        if cell.index in near:
            place = LOCAL
        elif guest.pci_affinity is PciAffinity.PREFERRED or (
            guest.pci_affinity is PciAffinity.SOCKET and cell.sockets & sockets
        ):
            place = REMOTE
        else:
            continue
        there += [(place, cell.id, device) for device in cell.devices]
    if guest.pci_affinity in (PciAffinity.LEGACY, PciAffinity.PREFERRED) or not guest.cells:
        there += [(LOOSE, None, device) for device in layout.loose_devices]
    offered = [
        (place, PlacedDevice(device.pci, cell, device.name), device)
        for place, cell, device in there
        if device.pci is not None and device.pci not in room.devices_used
    ]
    return sorted(offered, key=lambda offer: (offer[0], offer[1].pci))
