"""Which host devices a guest gets, given its cells, and how well near they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from agent.core.guest import DeviceWish, GuestTopology
from agent.core.placement import PlacedDevice
from agent.core.policy import PciAffinity
from agent.core.topology import Device
from agent.placement.room import Room

LOCAL, LOOSE, REMOTE = 0, 1, 2
"""On a chosen cell; on no cell that the kernel knows; on another cell."""

Offer: TypeAlias = tuple[int, PlacedDevice, Device]
"""How far away a free device is, and the device as the answer and as the topology have it."""


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
    """The guest's devices, the nearest that meet all wishes, and how many are not local; or a wish that cannot be met.

    ``required``: local ones only.  ``legacy``: local, or of no known cell.  ``socket``: local, or on a cell of the same
    socket.  ``preferred``: any.

    A device may answer to several aliases, so this is a matching: each device in turn, nearest first, is taken where
    wishes can be moved so that one more is met.  No other choice is nearer in sum, for what a device costs does not
    depend on the wish that gets it (Edmonds 1971: the greedy choice is best on a matroid, here a transversal one).
    """
    offered = _offered(room, guest, chosen)
    given: list[list[Offer]] = [[] for _ in guest.devices]
    missing = sum([wish.count for wish in guest.devices])
    for offer in offered:
        if missing:
            missing -= _give(offer, guest.devices, given, set())
    for wish, mine in zip(guest.devices, given, strict=True):
        if len(mine) < wish.count:
            return DeviceWish(wish.alias, len(mine))
    taken = [offer for mine in given for offer in sorted(mine, key=_nearness)]
    return tuple([placed for _, placed, _ in taken]), sum([distance for distance, _, _ in taken])


def _give(offer: Offer, wishes: Sequence[DeviceWish], given: list[list[Offer]], tried: set[int]) -> bool:
    """Give a device to a wish that still wants one, moving others between wishes if need be; False where nobody can."""
    for number, wish in enumerate(wishes):
        if number in tried or not matches(offer[2], wish.alias):
            continue
        tried.add(number)
        mine = given[number]
        if len(mine) < wish.count:
            mine.append(offer)
            return True
        for place, other in enumerate(mine):
            if _give(other, wishes, given, tried):
                mine[place] = offer
                return True
    return False


def _offered(room: Room, guest: GuestTopology, chosen: Sequence[int]) -> list[Offer]:
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
    return sorted(offered, key=_nearness)


def _nearness(offer: Offer) -> tuple[int, str]:
    return offer[0], offer[1].pci
