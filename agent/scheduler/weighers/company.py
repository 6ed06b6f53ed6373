"""ServerGroupSoftAffinity and ServerGroupSoftAntiAffinity: more members of the guest's group, or fewer, on the host."""

from __future__ import annotations

from agent.scheduler.aggregates import Column
from agent.scheduler.filters.neighbours import count_by_host
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings


def _members(table: HostTable, wanted: Wanted, policy: str) -> Column | None:
    if wanted.group is None or wanted.group.policy != policy:
        return None
    return count_by_host(table, wanted.group.members)


def _soft_affinity(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    return _members(table, wanted, "soft-affinity")


def _soft_anti_affinity(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    members = _members(table, wanted, "soft-anti-affinity")
    return None if members is None else -members


WEIGHERS = (
    Weigher("ServerGroupSoftAffinity", "soft_affinity_weight_multiplier", _soft_affinity),
    Weigher("ServerGroupSoftAntiAffinity", "soft_anti_affinity_weight_multiplier", _soft_anti_affinity),
)
