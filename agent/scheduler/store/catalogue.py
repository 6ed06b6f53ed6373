"""What operators define: aggregates, flavors, groups, quotas.  BadInput names what exists already or does not exist."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from agent.core import codec
from agent.core.errors import BadInput, QuotaExceeded
from agent.core.request import Flavor, Request
from agent.core.wire import InstanceStatus
from agent.placement.language import check_request
from agent.scheduler.store.prepared import Prepared
from agent.scheduler.store.records import AggregateRecord, ClaimLost, GroupRecord
from agent.scheduler.store.schema import (
    aggregate_hosts,
    aggregate_metadata,
    aggregates,
    counters,
    flavors,
    groups,
    hosts,
    instances,
    quotas,
)

GROUP_POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")
RESOURCES = ("cores", "ram_mb", "instances")


def count_change(connection: Connection) -> None:
    """Count a change of the catalogue; until commit, no other is made."""
    connection.execute(update(counters).where(counters.c.name == "catalogue").values(number=counters.c.number + 1))


def catalogue_number(connection: Connection) -> int:
    """How many changes the catalogue has seen."""
    return int(connection.execute(select(counters.c.number).where(counters.c.name == "catalogue")).scalar_one())


def load_aggregates(connection: Connection) -> list[AggregateRecord]:
    """All aggregates, by id."""
    members: dict[int, list[str]] = defaultdict(list)
    for row in connection.execute(select(aggregate_hosts).order_by(aggregate_hosts.c.host)):
        members[row.aggregate].append(row.host)
    metadata: dict[int, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(aggregate_metadata).order_by(aggregate_metadata.c.key)):
        metadata[row.aggregate][row.key] = row.value
    rows = connection.execute(select(aggregates).order_by(aggregates.c.id))
    return [AggregateRecord(row.id, row.name, tuple(members[row.id]), metadata[row.id]) for row in rows]


def create_aggregate(connection: Connection, name: str, properties: Mapping[str, str]) -> None:
    """A new aggregate without hosts."""
    _insert(connection, aggregates, f"aggregate {name}", {"name": name})
    set_aggregate(connection, name, properties)


def rename_aggregate(connection: Connection, name: str, new_name: str) -> None:
    """Give an aggregate another name."""
    number = _aggregate_id(connection, name)
    try:
        connection.execute(update(aggregates).where(aggregates.c.id == number).values(name=new_name))
    except IntegrityError as why:
        raise BadInput(f"aggregate {new_name} exists already") from why


def set_aggregate(connection: Connection, name: str, properties: Mapping[str, str | None]) -> None:
    """Set metadata keys; None takes a key away."""
    number = _aggregate_id(connection, name)
    for key, value in sorted(properties.items()):
        connection.execute(
            delete(aggregate_metadata).where(aggregate_metadata.c.aggregate == number, aggregate_metadata.c.key == key)
        )
        if value is not None:
            connection.execute(insert(aggregate_metadata).values(aggregate=number, key=key, value=value))


def delete_aggregate(connection: Connection, name: str) -> None:
    """Forget an aggregate that has no hosts."""
    number = _aggregate_id(connection, name)
    count = connection.execute(
        select(func.count()).select_from(aggregate_hosts).where(aggregate_hosts.c.aggregate == number)
    ).scalar_one()
    if count:
        raise BadInput(f"aggregate {name} still has {count} hosts; remove them first")
    connection.execute(delete(aggregate_metadata).where(aggregate_metadata.c.aggregate == number))
    connection.execute(delete(aggregates).where(aggregates.c.id == number))


def add_aggregate_host(connection: Connection, name: str, host: str) -> None:
    """Put a host into an aggregate.  A host cannot be in two availability zones."""
    number = _aggregate_id(connection, name)
    if connection.execute(select(hosts.c.name).where(hosts.c.name == host)).one_or_none() is None:
        raise BadInput(f"host {host} is not known")
    records = {record.name: record for record in load_aggregates(connection)}
    zone = records[name].metadata.get("availability_zone")
    for record in records.values():
        other = record.metadata.get("availability_zone")
        if zone and other and other != zone and host in record.hosts:
            raise BadInput(f"host {host} is in zone {other} already, through aggregate {record.name}; {name} is {zone}")
    _insert(connection, aggregate_hosts, f"host {host} in aggregate {name}", {"aggregate": number, "host": host})


def remove_aggregate_host(connection: Connection, name: str, host: str) -> None:
    """Take a host out of an aggregate."""
    number = _aggregate_id(connection, name)
    member = (aggregate_hosts.c.aggregate == number) & (aggregate_hosts.c.host == host)
    if not connection.execute(delete(aggregate_hosts).where(member)).rowcount:
        raise BadInput(f"host {host} is not in aggregate {name}")


def load_flavors(connection: Connection) -> list[Flavor]:
    """All flavors, by name."""
    rows = connection.execute(select(flavors).order_by(flavors.c.name))
    return [codec.decode(row.document, Flavor, source=f"database: flavor {row.name}") for row in rows]


def load_flavor(connection: Connection, name: str) -> Flavor:
    """One flavor; BadInput when it is not known."""
    data = connection.execute(select(flavors.c.document).where(flavors.c.name == name)).scalar_one_or_none()
    if data is None:
        raise BadInput(f"flavor {name} is not known")
    return codec.decode(data, Flavor, source=f"database: flavor {name}")


def create_flavor(connection: Connection, flavor: Flavor) -> None:
    """A new flavor; one that no host could serve is refused."""
    if not flavor.name:
        raise BadInput("a flavor needs a name")
    check_request(Request(flavor=flavor))
    _insert(connection, flavors, f"flavor {flavor.name}", {"name": flavor.name, "document": codec.encode(flavor)})


def set_flavor(connection: Connection, name: str, properties: Mapping[str, str | None]) -> None:
    """Set extra specs, None takes one away; instances keep the flavor they were made with."""
    old = load_flavor(connection, name)
    specs = {**old.extra_specs, **{key: value for key, value in properties.items() if value is not None}}
    kept = {key: value for key, value in specs.items() if properties.get(key, "") is not None}
    new = msgspec.structs.replace(old, extra_specs=kept)
    check_request(Request(flavor=new))
    connection.execute(update(flavors).where(flavors.c.name == name).values(document=codec.encode(new)))


def delete_flavor(connection: Connection, name: str) -> None:
    """Forget a flavor; instances keep theirs."""
    if not connection.execute(delete(flavors).where(flavors.c.name == name)).rowcount:
        raise BadInput(f"flavor {name} is not known")


def load_groups(connection: Connection) -> list[GroupRecord]:
    """All server groups, by name."""
    rows = connection.execute(select(groups).order_by(groups.c.name))
    return [GroupRecord(row.name, row.policy, row.max_server_per_host) for row in rows]


def load_members(connection: Connection) -> dict[str, list[str]]:
    """Group → the ids of its instances, in order."""
    members: dict[str, list[str]] = defaultdict(list)
    named = select(instances.c.id, instances.c.group_name).where(instances.c.group_name.is_not(None))
    for row in connection.execute(named.order_by(instances.c.id)):
        members[row.group_name].append(row.id)
    return members


def create_group(connection: Connection, group: GroupRecord) -> None:
    """A new server group; BadInput for a policy that is none."""
    if group.policy not in GROUP_POLICIES:
        raise BadInput(f"group {group.name}: {group.policy!r} is no policy; allowed: {', '.join(GROUP_POLICIES)}")
    if group.max_server_per_host < 1 or (group.max_server_per_host > 1 and group.policy != "anti-affinity"):
        raise BadInput(f"group {group.name}: max_server_per_host is at least 1, and only for anti-affinity")
    values = {"name": group.name, "policy": group.policy, "max_server_per_host": group.max_server_per_host}
    _insert(connection, groups, f"group {group.name}", values)


def delete_group(connection: Connection, name: str) -> None:
    """Forget a group that has no members."""
    count = connection.execute(
        select(func.count()).select_from(instances).where(instances.c.group_name == name)
    ).scalar_one()
    if count:
        raise BadInput(f"group {name} still has {count} members; delete them first")
    if not connection.execute(delete(groups).where(groups.c.name == name)).rowcount:
        raise BadInput(f"group {name} is not known")


def load_quotas(connection: Connection) -> dict[tuple[str, str], int]:
    """(project, resource) → the most it may use."""
    rows = connection.execute(select(quotas).order_by(quotas.c.project, quotas.c.resource))
    return {(row.project, row.resource): row.most for row in rows}


def set_quotas(connection: Connection, project: str, bounds: Mapping[str, int]) -> None:
    """Bound a project's use of resources; -1 takes a bound away."""
    for resource, most in sorted(bounds.items()):
        if resource not in RESOURCES or most < -1:
            raise BadInput(f"quota {resource}={most}; allowed: {', '.join(RESOURCES)} with a number, -1 for no bound")
        connection.execute(delete(quotas).where(quotas.c.project == project, quotas.c.resource == resource))
        if most >= 0:
            connection.execute(insert(quotas).values(project=project, resource=resource, most=most))


def project_use(connection: Connection, project: str, *, without: str = "") -> dict[str, int]:
    """What a project's instances use of each resource, but for one; those in ERROR without a host use nothing."""
    counted = (
        (instances.c.project == project)
        & (instances.c.id != without)
        & ((instances.c.status != InstanceStatus.ERROR.value) | instances.c.host.is_not(None))
    )
    columns = (func.coalesce(func.sum(instances.c.vcpus), 0), func.coalesce(func.sum(instances.c.ram_mb), 0))
    row = connection.execute(select(*columns, func.count()).where(counted)).one()
    return dict(zip(RESOURCES, (int(value) for value in row), strict=True))


def check_quota(connection: Connection, project: str, flavor: Flavor, *, instance: str = "", count: int = 1) -> None:
    """Refuse what would take a project over a quota: ``count`` instances, or another flavor for an ``instance``.

    The project's quotas stay locked until commit.
    """
    bounds = dict(_LOCK_QUOTAS.run(connection, {"b_project": project}).rows)
    if not bounds:
        return
    use = project_use(connection, project, without=instance)
    asked = dict(zip(RESOURCES, (flavor.vcpus * count, flavor.ram_mb * count, count), strict=True))
    for resource in RESOURCES:
        most = bounds.get(resource)
        if most is not None and use[resource] + asked[resource] > most:
            raise QuotaExceeded(
                f"project {project}: {resource} quota is {most}, {use[resource]} in use, {asked[resource]} more wanted"
            )


_LOCK_QUOTAS = Prepared(
    select(quotas.c.resource, quotas.c.most)
    .where(quotas.c.project == bindparam("b_project"))
    .order_by(quotas.c.resource)
    .with_for_update()
)


def lock_group(connection: Connection, name: str, *, seen: Collection[str], instance: str) -> None:
    """Hold a group until commit, and refuse a placement that its members' hosts, as they are now, no longer allow.

    ``seen`` are the hosts of the other members that the decision knew of, one a member.  Only policies that must hold
    are checked: for affinity and anti-affinity what was seen must be what is, so that two schedulers cannot both be
    first.
    """
    group = connection.execute(select(groups).where(groups.c.name == name).with_for_update()).one_or_none()
    if group is None:
        raise BadInput(f"group {name} is not known")
    if group.policy not in ("affinity", "anti-affinity"):
        return
    placed = (instances.c.group_name == name) & instances.c.host.is_not(None) & (instances.c.id != instance)
    now, known = Counter(connection.execute(select(instances.c.host).where(placed)).scalars()), Counter(seen)
    if now != known:
        raise ClaimLost(*sorted((now - known) + (known - now)))


def _aggregate_id(connection: Connection, name: str) -> int:
    number = connection.execute(select(aggregates.c.id).where(aggregates.c.name == name)).scalar_one_or_none()
    if number is None:
        raise BadInput(f"aggregate {name} is not known")
    return int(number)


def _insert(connection: Connection, table: Table, what: str, values: Mapping[str, object]) -> None:
    """Insert a row whose key must be new."""
    columns = [table.c[key] for key in values if table.c[key].primary_key or table.c[key].unique]
    exists = select(*columns).where(*(column == values[column.name] for column in columns))
    if connection.execute(exists).first() is not None:
        raise BadInput(f"{what} exists already")
    connection.execute(insert(table).values(**values))
