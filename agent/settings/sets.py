"""The settings applied to a host: its dedicated and shared sets, and the limits for its guests."""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.topology import HostTopology
from agent.core.usage import Limits
from agent.settings.document import Settings


def apply_sets(host: HostTopology, settings: Settings) -> HostTopology:
    """The host with the operator's sets; BadInput lists the pCPUs that are absent and those that are offline.

    Offline pCPUs are fine where the agent's power management may have put them to sleep.  ``vcpu_pin_set`` becomes both
    at once.  A ``cpu_shared_set`` beside it is checked and otherwise left out: Nova gives it to emulator threads alone,
    and the Topology document has no third set.
    """
    chosen = settings.host
    asleep = host.offline if settings.agent.cpu_power_management else CpuSet()
    for key in ("vcpu_pin_set", "cpu_dedicated_set", "cpu_shared_set"):
        _check_present(host, key, getattr(chosen, key), asleep=asleep)
    if chosen.vcpu_pin_set is not None:
        return msgspec.structs.replace(host, dedicated_set=chosen.vcpu_pin_set, shared_set=chosen.vcpu_pin_set)
    if chosen.cpu_dedicated_set is None and chosen.cpu_shared_set is None:
        return host
    return msgspec.structs.replace(host, dedicated_set=chosen.cpu_dedicated_set, shared_set=chosen.cpu_shared_set)


def limits(settings: Settings) -> Limits:
    """What the placement engine needs to know of the settings."""
    host = settings.host
    return Limits(
        cpu_allocation_ratio=host.cpu_allocation_ratio,
        ram_allocation_ratio=host.ram_allocation_ratio,
        reserved_memory_mb=host.reserved_memory_mb,
        reserved_huge_pages=host.reserved_huge_pages,
        packing=host.packing,
    )


def _check_present(host: HostTopology, key: str, cpus: CpuSet | None, *, asleep: CpuSet) -> None:
    missing = CpuSet() if cpus is None else cpus - host.online - asleep
    if not missing:
        return
    offline, absent = missing & host.offline, missing - host.offline
    said = [f"{word}: {part}" for word, part in (("absent", absent), ("offline", offline)) if part]
    raise BadInput(
        f"{key}={cpus} names pCPUs that {host.hostname} cannot give ({'; '.join(said)}); online: {host.online}"
    )
