"""What operators and readers call: hosts, aggregates, zones, flavors, groups, quotas, tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TypeVar

from litestar import Controller, delete, get, patch, post, put
from litestar.datastructures import State
from msgspec.structs import replace

from agent.core.codec import convert
from agent.core.errors import BadInput
from agent.core.facts import HostFacts, cpu_info_of, supported_by
from agent.core.listing import (
    AggregateChange,
    AggregateView,
    FlavorChange,
    GroupView,
    HostChange,
    HostView,
    NewAggregate,
    NewGroup,
    NewHost,
    NewToken,
    QuotaChange,
    QuotaView,
    Token,
    ZoneView,
)
from agent.core.names import check_host, check_name, check_text
from agent.core.request import Flavor
from agent.core.topology import HostTopology, find_contradiction
from agent.scheduler import views
from agent.scheduler.api.auth import operators, readers
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue, tokens
from agent.scheduler.store.database import Connection, transaction
from agent.scheduler.store.records import GroupRecord, HostRecord

SHORTEST_TOKEN = 32
LARGEST_DISK_GB = 1 << 30
Named = TypeVar("Named", AggregateView, GroupView)


class Hosts(Controller):
    """Hosts."""

    path = "/v1/hosts"
    guards = [readers]

    @get(sync_to_thread=True)
    def index(self, state: State) -> list[HostView]:
        """All hosts, by name."""
        return views.view_hosts(_scheduler(state))

    @get("/{host:str}", sync_to_thread=True)
    def show(self, state: State, host: str) -> HostView:
        """One host."""
        return views.view_host(_scheduler(state), host)

    @post(guards=[operators], sync_to_thread=True)
    def add(self, state: State, data: NewHost) -> HostView:
        """Add a host that has no agent, for trials, or replace one; a host that has an agent is refused."""
        check_host(data.name)
        known = _scheduler(state).cloud.host(data.name)
        if known is not None and known.agent:
            raise BadInput(f"host {data.name} exists already, and its agent says what it is")
        topology = replace(convert(data.topology, HostTopology, source="topology"), hostname=data.name)
        if wrong := find_contradiction(topology):
            raise BadInput(f"topology: {wrong}")
        own = {"cpu_info": cpu_info_of(topology), "supported_instances": supported_by(topology)}
        facts = convert({"disk_gb": data.disk_gb, **own, **data.facts}, HostFacts, source="facts")
        if not 0 <= facts.disk_gb <= LARGEST_DISK_GB:
            raise BadInput(f"host {data.name}: disk of {facts.disk_gb} GiB; allowed: 0 to {LARGEST_DISK_GB}")
        _scheduler(state).put_host(HostRecord(name=data.name, topology=topology, facts=facts, agent=False))
        return views.view_host(_scheduler(state), data.name)

    @patch("/{host:str}", guards=[operators], sync_to_thread=True)
    def change(self, state: State, host: str, data: HostChange) -> HostView:
        """Let new guests onto a host, or keep them off."""
        check_text("reason", data.reason)
        _scheduler(state).enable_host(host, enabled=data.enabled, reason=data.reason)
        return views.view_host(_scheduler(state), host)

    @delete("/{host:str}", guards=[operators], sync_to_thread=True)
    def remove(self, state: State, host: str) -> None:
        """Forget a host without instances."""
        _scheduler(state).remove_host(host)


class Aggregates(Controller):
    """Host aggregates."""

    path = "/v1/aggregates"
    guards = [readers]

    @get(sync_to_thread=True)
    def index(self, state: State) -> list[AggregateView]:
        """All aggregates, by id."""
        return views.view_aggregates(_scheduler(state))

    @get("/{name:str}", sync_to_thread=True)
    def show(self, state: State, name: str) -> AggregateView:
        """One aggregate."""
        return _one(views.view_aggregates(_scheduler(state)), name, "aggregate")

    @post(guards=[operators], sync_to_thread=True)
    def create(self, state: State, data: NewAggregate) -> AggregateView:
        """Make an aggregate without hosts."""
        scheduler = _scheduler(state)
        scheduler.change_catalogue(lambda c: catalogue.create_aggregate(c, data.name, data.properties))
        return _one(views.view_aggregates(scheduler), data.name, "aggregate")

    @patch("/{name:str}", guards=[operators], sync_to_thread=True)
    def change(self, state: State, name: str, data: AggregateChange) -> AggregateView:
        """Set metadata, or rename."""
        scheduler = _scheduler(state)

        def changed(connection: Connection) -> None:
            catalogue.set_aggregate(connection, name, data.properties)
            if data.name is not None:
                catalogue.rename_aggregate(connection, name, data.name)

        scheduler.change_catalogue(changed)
        return _one(views.view_aggregates(scheduler), data.name or name, "aggregate")

    @delete("/{name:str}", guards=[operators], sync_to_thread=True)
    def remove(self, state: State, name: str) -> None:
        """Forget an aggregate that has no hosts."""
        _scheduler(state).change_catalogue(lambda c: catalogue.delete_aggregate(c, name))

    @put("/{name:str}/hosts/{host:str}", guards=[operators], sync_to_thread=True)
    def add_host(self, state: State, name: str, host: str) -> AggregateView:
        """Put a host into an aggregate."""
        _scheduler(state).change_catalogue(lambda c: catalogue.add_aggregate_host(c, name, host))
        return _one(views.view_aggregates(_scheduler(state)), name, "aggregate")

    @delete("/{name:str}/hosts/{host:str}", guards=[operators], sync_to_thread=True)
    def remove_host(self, state: State, name: str, host: str) -> None:
        """Take a host out of an aggregate."""
        _scheduler(state).change_catalogue(lambda c: catalogue.remove_aggregate_host(c, name, host))


class Flavors(Controller):
    """Flavors."""

    path = "/v1/flavors"
    guards = [readers]

    @get(sync_to_thread=True)
    def index(self, state: State) -> list[Flavor]:
        """All flavors, by name."""
        with transaction(_scheduler(state).engine) as connection:
            return catalogue.load_flavors(connection)

    @get("/{name:str}", sync_to_thread=True)
    def show(self, state: State, name: str) -> Flavor:
        """One flavor."""
        with transaction(_scheduler(state).engine) as connection:
            return catalogue.load_flavor(connection, name)

    @post(guards=[operators], sync_to_thread=True)
    def create(self, state: State, data: Flavor) -> Flavor:
        """Make a flavor; its sizes and extra specs are checked as a request's are."""
        _scheduler(state).change_catalogue(lambda c: catalogue.create_flavor(c, data))
        return data

    @patch("/{name:str}", guards=[operators], sync_to_thread=True)
    def change(self, state: State, name: str, data: FlavorChange) -> Flavor:
        """Set extra specs; null takes one away."""
        _scheduler(state).change_catalogue(lambda c: catalogue.set_flavor(c, name, data.properties))
        with transaction(_scheduler(state).engine) as connection:
            return catalogue.load_flavor(connection, name)

    @delete("/{name:str}", guards=[operators], sync_to_thread=True)
    def remove(self, state: State, name: str) -> None:
        """Forget a flavor; instances keep theirs."""
        _scheduler(state).change_catalogue(lambda c: catalogue.delete_flavor(c, name))


class Groups(Controller):
    """Server groups."""

    path = "/v1/groups"
    guards = [readers]

    @get(sync_to_thread=True)
    def index(self, state: State) -> list[GroupView]:
        """All server groups, by name."""
        return views.view_groups(_scheduler(state))

    @get("/{name:str}", sync_to_thread=True)
    def show(self, state: State, name: str) -> GroupView:
        """One server group."""
        return _one(views.view_groups(_scheduler(state)), name, "group")

    @post(guards=[operators], sync_to_thread=True)
    def create(self, state: State, data: NewGroup) -> GroupView:
        """Make a server group."""
        record = GroupRecord(data.name, data.policy, data.max_server_per_host)
        _scheduler(state).change_catalogue(lambda c: catalogue.create_group(c, record))
        return _one(views.view_groups(_scheduler(state)), data.name, "group")

    @delete("/{name:str}", guards=[operators], sync_to_thread=True)
    def remove(self, state: State, name: str) -> None:
        """Forget a group that has no members."""
        _scheduler(state).change_catalogue(lambda c: catalogue.delete_group(c, name))


class Projects(Controller):
    """Availability zones, quotas and tokens."""

    path = "/v1"

    @get("/zones", guards=[readers], sync_to_thread=True)
    def zones(self, state: State) -> list[ZoneView]:
        """Every zone that has hosts, by name."""
        return views.view_zones(_scheduler(state))

    @get("/quotas/{project:str}", guards=[readers], sync_to_thread=True)
    def quotas(self, state: State, project: str) -> list[QuotaView]:
        """A project's bounds, and its use of each resource."""
        return views.view_quotas(_scheduler(state), project)

    @get("/quotas", guards=[readers], sync_to_thread=True)
    def all_quotas(self, state: State) -> list[QuotaView]:
        """The bounds and the use of every project that is bounded, by name."""
        return views.view_all_quotas(_scheduler(state))

    @put("/quotas/{project:str}", guards=[operators], sync_to_thread=True)
    def set_quotas(self, state: State, project: str, data: QuotaChange) -> list[QuotaView]:
        """Bound a project; -1 takes a bound away."""
        check_name("project", project)
        _scheduler(state).change_catalogue(lambda c: catalogue.set_quotas(c, project, data.bounds))
        return views.view_quotas(_scheduler(state), project)

    @post("/tokens", guards=[operators], sync_to_thread=True)
    def token(self, state: State, data: NewToken) -> Token:
        """Make a token, or take one of another region's; the subject's older one of that role ends."""
        if data.role not in tokens.ROLES:
            raise BadInput(f"token role {data.role!r}; allowed: {', '.join(tokens.ROLES)}")
        if data.token is not None and not SHORTEST_TOKEN <= len(data.token) <= 200:
            raise BadInput(f"a token of {len(data.token)} characters; allowed: {SHORTEST_TOKEN} to 200")
        made = data.token or secrets.token_urlsafe(32)
        _scheduler(state).change_catalogue(lambda c: tokens.save_token(c, made, role=data.role, subject=data.subject))
        return Token(role=data.role, subject=data.subject, token=made)


def _scheduler(state: State) -> Scheduler:
    scheduler: Scheduler = state.scheduler
    return scheduler


def _one(rows: Sequence[Named], name: str, what: str) -> Named:
    """The row of this name, or else of this id."""
    for row in rows:
        if row.name == name:
            return row
    for row in rows:
        if isinstance(row, AggregateView) and str(row.id) == name:
            return row
    raise BadInput(f"{what} {name} is not known")
