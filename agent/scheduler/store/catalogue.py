"""What operators define: aggregates, flavors, groups, quotas.  BadInput names what exists already or does not exist."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from agent.core import codec
from agent.core.errors import BadInput, QuotaExceeded
from agent.core.names import check_name, check_property
from agent.core.request import Flavor, Request, spec_text
from agent.core.wire import InstanceStatus
from agent.placement.language import check_request
from agent.scheduler.store.prepared import Prepared, Session
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
ZONE = "availability_zone"
MOST_OF_A_GROUP = 10_000
LARGEST_QUOTA = 1 << 53


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
    check_name("aggregate", name)
    _insert(connection, aggregates, f"aggregate {name}", {"name": name})
    set_aggregate(connection, name, properties)


def rename_aggregate(connection: Connection, name: str, new_name: str) -> None:
    """Give an aggregate another name."""
    check_name("aggregate", new_name)
    number = _aggregate_id(connection, name)
    try:
        connection.execute(update(aggregates).where(aggregates.c.id == number).values(name=new_name))
    except IntegrityError as why:
        raise BadInput(f"aggregate {new_name} exists already") from why


def set_aggregate(connection: Connection, name: str, properties: Mapping[str, str | None]) -> None:
    """Set metadata keys; None takes a key away."""
    number = _aggregate_id(connection, name)
    for key, value in sorted(properties.items()):
        check_property(key, value)
        if key == ZONE and value is not None and not all(zone.strip() for zone in value.replace(":", ",,").split(",")):
            raise BadInput(f"availability zone {value!r}; allowed: a name without : or several with commas between")
        connection.execute(
            delete(aggregate_metadata).where(aggregate_metadata.c.aggregate == number, aggregate_metadata.c.key == key)
        )
        if value is not None:
            connection.execute(insert(aggregate_metadata).values(aggregate=number, key=key, value=value))
    _check_zones(connection, number)


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
    _insert(connection, aggregate_hosts, f"host {host} in aggregate {name}", {"aggregate": number, "host": host})
    _check_zones(connection, number)


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
    check_name("flavor", flavor.name)
    for key, value in sorted(flavor.extra_specs.items()):
        check_property(key, spec_text(value))
    check_request(Request(flavor=flavor))
    _insert(connection, flavors, f"flavor {flavor.name}", {"name": flavor.name, "document": codec.encode(flavor)})


def set_flavor(connection: Connection, name: str, properties: Mapping[str, str | None]) -> None:
    """Set extra specs, None takes one away; instances keep the flavor they were made with."""
    old = load_flavor(connection, name)
    for key, text in sorted(properties.items()):
        check_property(key, text)
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
    check_name("group", group.name)
    if group.policy not in GROUP_POLICIES:
        raise BadInput(f"group {group.name}: {group.policy!r} is no policy; allowed: {', '.join(GROUP_POLICIES)}")
    most = MOST_OF_A_GROUP if group.policy == "anti-affinity" else 1
    if not 1 <= group.max_server_per_host <= most:
        allowed = f"1 to {most}" if most > 1 else "for anti-affinity only"
        raise BadInput(f"group {group.name}: max_server_per_host {group.max_server_per_host}; allowed: {allowed}")
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
        if resource not in RESOURCES or not -1 <= most <= LARGEST_QUOTA:
            allowed = f"{', '.join(RESOURCES)} with 0 to {LARGEST_QUOTA}, -1 for no bound"
            raise BadInput(f"quota {resource}={most}; allowed: {allowed}")
        connection.execute(delete(quotas).where(quotas.c.project == project, quotas.c.resource == resource))
        if most >= 0:
            connection.execute(insert(quotas).values(project=project, resource=resource, most=most))


def project_use(connection: Session, project: str, *, without: str = "") -> dict[str, int]:
    """What a project's instances use of each resource, but for one; those in ERROR without a host use nothing."""
    row = _PROJECT_USE.run(connection, {"b_project": project, "b_without": without}).rows[0]
    return dict(zip(RESOURCES, map(int, row), strict=True))


def check_quota(connection: Session, project: str, flavor: Flavor, *, instance: str = "", count: int = 1) -> None:
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


_PROJECT_USE = Prepared(
    select(
        func.coalesce(func.sum(instances.c.vcpus), 0), func.coalesce(func.sum(instances.c.ram_mb), 0), func.count()
    ).where(
        instances.c.project == bindparam("b_project"),
        instances.c.id != bindparam("b_without"),
        (instances.c.status != InstanceStatus.ERROR.value) | instances.c.host.is_not(None),
    )
)
_LOCK_QUOTAS = Prepared(
    select(quotas.c.resource, quotas.c.most)
    .where(quotas.c.project == bindparam("b_project"))
    .order_by(quotas.c.resource)
    .with_for_update()
)


def lock_group(connection: Session, name: str, *, seen: Collection[str], instance: str) -> None:
    """Hold a group until commit, and refuse a placement that its members' hosts, as they are now, no longer allow.

    ``seen`` are the hosts of the other members that the decision knew of, one a member.  Only policies that must hold
    are checked: for affinity and anti-affinity what was seen must be what is, so that two schedulers cannot both be
    first.
    """
    rows = _LOCK_GROUP.run(connection, {"b_name": name}).rows
    if not rows:
        raise BadInput(f"group {name} is not known")
    if rows[0][0] not in ("affinity", "anti-affinity"):
        return
    others = _OTHER_HOSTS.run(connection, {"b_name": name, "b_instance": instance}).rows
    now, known = Counter(host for (host,) in others), Counter(seen)
    if now != known:
        raise ClaimLost(*sorted((now - known) + (known - now)))


_LOCK_GROUP = Prepared(select(groups.c.policy).where(groups.c.name == bindparam("b_name")).with_for_update())
_OTHER_HOSTS = Prepared(
    select(instances.c.host).where(
        instances.c.group_name == bindparam("b_name"),
        instances.c.host.is_not(None),
        instances.c.id != bindparam("b_instance"),
    )
)


def _aggregate_id(connection: Connection, name: str) -> int:
    """The id of an aggregate that a user named, or whose id he gave."""
    rows = connection.execute(select(aggregates.c.id, aggregates.c.name)).all()
    ids = [row.id for row in rows if row.name == name] or [row.id for row in rows if str(row.id) == name]
    if not ids:
        raise BadInput(f"aggregate {name} is not known")
    return int(ids[0])


def _check_zones(connection: Connection, number: int) -> None:
    """A host cannot be in two availability zones, whether it or the zone came to an aggregate last."""
    records = load_aggregates(connection)
    mine = next(record for record in records if record.id == number)
    zone = mine.metadata.get(ZONE)
    for record in records:
        other = record.metadata.get(ZONE)
        both = sorted(set(mine.hosts) & set(record.hosts)) if zone and other and other != zone else ()
        if both:
            raise BadInput(
                f"host {both[0]} is in zone {other} already, through aggregate {record.name}; {mine.name} is {zone}"
            )


def _insert(connection: Connection, table: Table, what: str, values: Mapping[str, object]) -> None:
    """Insert a row whose key must be new."""
    columns = [table.c[key] for key in values if table.c[key].primary_key or table.c[key].unique]
    exists = select(*columns).where(*(column == values[column.name] for column in columns))
    if connection.execute(exists).first() is not None:
        raise BadInput(f"{what} exists already")
    connection.execute(insert(table).values(**values))
