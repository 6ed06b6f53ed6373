"""AvailabilityZone: a request for a zone gets only hosts of that zone.

A host is in the zones that its aggregates' ``availability_zone`` metadata names (commas allowed), or in the configured
default zone when none names one.
"""

from __future__ import annotations

from agent.scheduler.aggregates import ZONE, Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def zone_of(table: HostTable, row: int, settings: SchedulingSettings) -> str:
    """The zone shown for a host: its aggregates' zones joined with commas, or the default zone."""
    return table.aggregates.zones.get(row) or settings.default_availability_zone


def _zone(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    asked = wanted.request.availability_zone
    if not asked:
        return None
    zones = {zone.strip() for zone in asked.split(",")}
    having = table.aggregates.having(ZONE)
    passes = table.aggregates.mask([pair for pair in having if zones & set(pair[0].values(ZONE))])
    if settings.default_availability_zone in zones:
        passes |= ~table.aggregates.mask(having)
    return passes


FILTERS = (Filter("AvailabilityZone", _zone, lambda w, s: f"availability zone {w.request.availability_zone or 'any'}"),)
