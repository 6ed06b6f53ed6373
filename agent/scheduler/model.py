"""A hardware model: what many hosts share, compiled once."""

from __future__ import annotations

import msgspec

from agent.core.topology import Device, HostTopology
from agent.placement.layout import Layout, compile_layout


class Model(msgspec.Struct, frozen=True, weakref=True):
    """What hosts of one hardware model share; ``ram_mb`` is all their cells have, ``devices`` can be given away."""

    topology: HostTopology
    layout: Layout
    vcpus: int
    ram_mb: int
    devices: tuple[Device, ...]


def compile_model(topology: HostTopology) -> Model:
    """The model of a host with this topology."""
    placed = tuple(device for cell in topology.cells for device in cell.devices)
    return Model(
        topology=topology,
        layout=compile_layout(topology),
        vcpus=len(topology.dedicated() | topology.shared()),
        ram_mb=sum(cell.memory_kib or 0 for cell in topology.cells) // 1024,
        devices=tuple(device for device in placed + topology.unplaced_devices if device.pci),
    )
