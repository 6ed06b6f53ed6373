"""What the cloud looks like to people: rows for lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.core.listing import AggregateView, GroupView, HostView, InstanceView, QuotaView, ZoneView
from agent.core.wire import InstanceStatus
from agent.scheduler.aggregates import ZONE
from agent.scheduler.filters.zones import zone_of
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue, instances
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import AggregateRecord, HostRecord, InstanceRecord


def view_hosts(scheduler: Scheduler) -> list[HostView]:
    """All hosts, by name."""
    with scheduler.lock:
        up = _up(scheduler)
        return [_view_host(scheduler, record, up) for record in scheduler.cloud.hosts()]


def count_hosts(scheduler: Scheduler) -> dict[tuple[str, str], int]:
    """How many hosts have each state and status, of those that any has."""
    with scheduler.lock:
        table = scheduler.cloud.table
        up, heard = _up(scheduler), table.last_seen_s > 0
        states = {"up": up, "down": ~up & heard, "silent": ~up & ~heard}
        statuses = {"enabled": table.enabled, "disabled": ~table.enabled}
        counted = {
            (state, status): int(np.count_nonzero(table.alive & one & other))
            for state, one in states.items()
            for status, other in statuses.items()
        }
    return {key: count for key, count in counted.items() if count}


def view_host(scheduler: Scheduler, name: str) -> HostView:
    """One host; BadInput when it is not known."""
    with scheduler.lock:
        return _view_host(scheduler, scheduler.known_host(name), _up(scheduler))


def _up(scheduler: Scheduler) -> NDArray[np.bool_]:
    scheduler.tick()
    return scheduler.cloud.table.up(scheduler.settings.service_down_time_s)


def _view_host(scheduler: Scheduler, record: HostRecord, up: NDArray[np.bool_]) -> HostView:
    name, table = record.name, scheduler.cloud.table
    row = table.row_of[name]
    pinned = sum(len(cell.pinned) for cell in scheduler.cloud.usage(name).cells)
    total = len(record.topology.dedicated()) if record.topology else 0
    return HostView(
        name=name,
        zone=zone_of(table, row, scheduler.settings),
        state="up" if up[row] else "silent" if table.last_seen_s[row] == 0 else "down",
        status="enabled" if record.enabled else "disabled",
        cells=len(record.topology.cells) if record.topology else 0,
        vcpus=int(table.vcpus[row]),
        vcpus_used=int(table.vcpus_used[row]),
        ram_mb=int(table.ram_mb[row]),
        ram_mb_used=int(table.ram_mb[row] - table.free_ram_mb[row]),
        pinned=f"{pinned}/{total}",
        instances=len(scheduler.cloud.instances(name)),
        leaving=len(scheduler.cloud.leaving(name)),
        disabled_reason=record.disabled_reason,
    )


def view_instances(scheduler: Scheduler) -> list[InstanceView]:
    """All instances, oldest first."""
    with transaction(scheduler.engine) as connection:
        records = instances.load_instances(connection)
    with scheduler.lock:
        return [view_instance(scheduler, record) for record in records]


def view_instance(scheduler: Scheduler, record: InstanceRecord) -> InstanceView:
    """One instance."""
    table = scheduler.cloud.table
    row = table.row_of.get(record.host) if record.host else None
    flavor, placement = record.request.flavor, record.placement
    cells = sorted({cell.host_cell for cell in placement.cells}) if placement else []
    return InstanceView(
        id=record.id,
        name=record.name,
        status=record.status,
        host=record.host,
        zone=None if row is None else zone_of(table, row, scheduler.settings),
        project=record.project,
        flavor=flavor.name,
        vcpus=flavor.vcpus,
        ram_mb=flavor.ram_mb,
        cells=",".join(map(str, cells)),
        group=record.group,
        leaving=",".join(scheduler.cloud.left_by(record.id)),
        reason=record.reason or _why_it_waits(scheduler, record),
    )


def _why_it_waits(scheduler: Scheduler, record: InstanceRecord) -> str:
    """What nobody will ever begin says so."""
    host = scheduler.cloud.host(record.host) if record.host is not None else None
    if host is None or host.agent or record.status is not InstanceStatus.SCHEDULED:
        return ""
    return f"host {host.name} has no agent: this is claimed there, and nobody starts it"


def view_aggregates(scheduler: Scheduler) -> list[AggregateView]:
    """All aggregates, by id."""
    with transaction(scheduler.engine) as connection:
        return [view_aggregate(record) for record in catalogue.load_aggregates(connection)]


def view_aggregate(record: AggregateRecord) -> AggregateView:
    """One aggregate."""
    return AggregateView(
        id=record.id,
        name=record.name,
        zone=record.metadata.get(ZONE),
        hosts=record.hosts,
        properties=record.metadata,
    )


def view_groups(scheduler: Scheduler) -> list[GroupView]:
    """All server groups, by name, with their members: those in ERROR are members too."""
    with transaction(scheduler.engine) as connection:
        groups, members = catalogue.load_groups(connection), catalogue.load_members(connection)
    return [
        GroupView(
            name=group.name,
            policy=group.policy,
            max_server_per_host=group.max_server_per_host,
            members=tuple(members.get(group.name, ())),
        )
        for group in groups
    ]


def view_zones(scheduler: Scheduler) -> list[ZoneView]:
    """Every zone that has hosts, by name."""
    counted: dict[str, list[bool]] = {}
    for host in view_hosts(scheduler):
        for zone in host.zone.split(","):
            counted.setdefault(zone, []).append(host.state == "up" and host.status == "enabled")
    return [ZoneView(name=zone, hosts=len(up), available=sum(up)) for zone, up in sorted(counted.items())]


def view_all_quotas(scheduler: Scheduler) -> list[QuotaView]:
    """The same of every project that has a bound, by name."""
    with transaction(scheduler.engine) as connection:
        projects = sorted({project for project, _ in catalogue.load_quotas(connection)})
    return [quota for project in projects for quota in view_quotas(scheduler, project)]


def view_quotas(scheduler: Scheduler, project: str) -> list[QuotaView]:
    """A project's use of each resource, and its bounds."""
    with transaction(scheduler.engine) as connection:
        bounds, use = catalogue.load_quotas(connection), catalogue.project_use(connection, project)
    return [
        QuotaView(project=project, resource=resource, most=bounds.get((project, resource)), used=used)
        for resource, used in use.items()
    ]
