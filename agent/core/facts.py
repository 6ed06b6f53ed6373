"""What a scheduler knows of a host beside its topology: sizes, software, measurements; named as in Nova."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.core.topology import HostTopology
from agent.core.usage import Limits


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Reported by the agent, or given with ``host add``.

    ``supported_instances`` lists (architecture, hypervisor type, vm mode).  ``cpu_info`` and ``stats`` are what
    ``capabilities:`` extra specs look into.  ``disk_available_least_gb`` is what is really free on the file system.
    ``limits`` are the host's own: allocation ratios, what it keeps back, how its cells are filled.
    """

    hypervisor_type: str = "QEMU"
    hypervisor_version: int = 0
    hypervisor_hostname: str | None = None
    host_ip: str | None = None
    supported_instances: tuple[tuple[str, str, str], ...] = (("x86_64", "kvm", "hvm"), ("x86_64", "qemu", "hvm"))
    cpu_info: dict[str, Any] = {}
    stats: dict[str, str] = {}
    metrics: dict[str, float] = {}
    disk_gb: int = 0
    disk_available_least_gb: int | None = None
    disk_allocation_ratio: float = 1.0
    limits: Limits = Limits(cpu_allocation_ratio=4.0, ram_allocation_ratio=1.0)


def cpu_info_of(host: HostTopology) -> dict[str, Any]:
    """What ``capabilities:cpu_info:`` extra specs look into, under Nova's keys and in the kernel's words.

    As with libvirt, ``sockets`` are those of one cell (1 where a socket has several), ``cores`` those of one socket.
    """
    cells, sockets = len(host.cells), host.sockets
    return {
        "arch": host.arch,
        "vendor": host.cpu.vendor,
        "model": host.cpu.model,
        "features": list(host.cpu.flags),
        "topology": {
            "cells": cells,
            "sockets": max(sockets // cells, 1) if sockets and cells else sockets,
            "cores": host.cores // sockets if host.cores and sockets else None,
            "threads": host.threads_per_core,
        },
    }


def supported_by(host: HostTopology, kinds: tuple[str, ...] = ("kvm", "qemu")) -> tuple[tuple[str, str, str], ...]:
    """The guests that a host can run: its own architecture, under these hypervisors."""
    return tuple((host.arch or "x86_64", kind, "hvm") for kind in kinds)
