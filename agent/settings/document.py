"""The settings: what the operator decides about this host, one Struct a section.

A section is a frozen Struct here or in a module of its own, and one field of :class:`Settings`; its name in the file is
the field's name, and every field of it is a key.  Reading, merging and ``config check`` need no more than that.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.policy import PackingPolicy
from agent.core.topology import Size
from agent.core.usage import Ratio, ReservedPages
from agent.settings.agent import AgentSettings
from agent.settings.scheduling import SchedulingSettings, Service


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """``[host]``: which pCPUs guests may use, how far they may overcommit, and what the host keeps for itself.

    The keys are Nova's own where Nova has them (nova.conf reference, ``[DEFAULT]`` and ``[compute]``).
    ``reserved_memory_mb`` is per cell, MiB; ``reserved_host_memory_mb`` is of the whole host: as in Nova it lessens
    what a scheduler sees of the host and never what a cell offers.  ``nova_conf`` names a nova.conf to read below this
    file: its options of this section's names, and ``[libvirt] cpu_power_…`` for ``[agent]``.
    """

    vcpu_pin_set: CpuSet | None = None
    cpu_dedicated_set: CpuSet | None = None
    cpu_shared_set: CpuSet | None = None
    cpu_allocation_ratio: Ratio | None = None
    ram_allocation_ratio: Ratio | None = None
    packing: PackingPolicy = PackingPolicy.BALANCED
    reserved_memory_mb: dict[Size, Size] = {}
    reserved_huge_pages: tuple[ReservedPages, ...] = ()
    reserved_host_memory_mb: Size | None = None
    nova_conf: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All sections, each with its defaults where no file says otherwise."""

    host: Host = Host()
    agent: AgentSettings = AgentSettings()
    scheduler: Service = Service()
    scheduling: SchedulingSettings = SchedulingSettings()


CPU_SETS = ("vcpu_pin_set", "cpu_dedicated_set", "cpu_shared_set")


class Layer(msgspec.Struct, frozen=True):
    """What one source says: section → key → value, checked and typed; only what it names.

    With ``replaces_sets`` (the command line) its CPU sets stand instead of those of all layers below, not beside them.
    """

    source: str
    values: dict[str, dict[str, Any]]
    replaces_sets: bool = False


class Effective(msgspec.Struct, frozen=True):
    """The merged settings, and for each ``section.key`` that some source names, which source won."""

    settings: Settings
    origins: dict[str, str]


def sections() -> dict[str, tuple[str, ...]]:
    """Section → its keys, in the order they are declared."""
    return {
        field.name: tuple(key.name for key in msgspec.structs.fields(type(field.default)))
        for field in msgspec.structs.fields(Settings)
    }
