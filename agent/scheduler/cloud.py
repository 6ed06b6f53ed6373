"""The cloud in memory: every host with its claims, the host table over them, and the exact fit of a request on a row.

Everything here can be thrown away and read again from the store; the store decides, this only knows fast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import msgspec

from agent.core.claims import claim, release
from agent.core.cpuset import CpuSet
from agent.core.placement import Misfit, Nearest, Placement, Reason
from agent.core.request import Flavor, Image
from agent.core.usage import Usage
from agent.core.wire import InstanceStatus
from agent.placement.engine import fit
from agent.placement.layout import Layout
from agent.placement.nearest import nearest
from agent.placement.room import Room, measure_room, unknown_cells
from agent.scheduler.aggregates import Aggregate
from agent.scheduler.foreign import besides, is_contended
from agent.scheduler.model import Model, compile_model
from agent.scheduler.store.records import AggregateRecord, GroupRecord, HostRecord, InstanceRecord, Leaving
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Group, Wanted

ALWAYS_S = float("inf")
"""When a host without an agent was last heard from: it cannot fall silent."""


class _Host(msgspec.Struct):
    """A host, what it runs of ours, and the usage that follows; ``room`` is measured when first asked for.

    ``leaving`` are claims of instances that were placed elsewhere and are not gone from here yet.  ``told`` is the
    change that was asked for last: guests that are alike come one after the other.
    """

    record: HostRecord
    model: Model | None
    layout: Layout | None
    instances: dict[str, InstanceRecord] = {}
    leaving: dict[str, Leaving] = {}
    usage: Usage = Usage()
    room: Room | None = None
    told: tuple[Flavor, Image, Nearest | None] | None = None


class Cloud:
    """Hosts, instances, groups and aggregates, kept in step with the store by the service that owns them."""

    def __init__(self) -> None:
        self.table = HostTable()
        self.groups: dict[str, GroupRecord] = {}
        self._hosts: dict[str, _Host] = {}
        self._models: WeakValueDictionary[str, Model] = WeakValueDictionary()
        self._host_of: dict[str, str] = {}
        self._group_of: dict[str, str] = {}
        self._members: dict[str, dict[str, str | None]] = defaultdict(dict)
        self._left: dict[str, set[str]] = defaultdict(set)

    def put_host(
        self, record: HostRecord, instances: Iterable[InstanceRecord], leaving: Iterable[Leaving] = ()
    ) -> None:
        """Take in a host, all its instances and those that are leaving it, replacing what was known of it."""
        self._forget_host(record.name)
        held = {instance.id: instance for instance in instances}
        going = {left.instance: left for left in leaving}
        placements = [instance.placement for instance in held.values() if instance.placement is not None]
        placements += [left.placement for left in going.values()]
        usage = besides(record.foreign, placements)
        for placement in placements:
            usage = claim(usage, placement)
        for instance in held.values():
            self._remember(instance)
        for gone in going:
            self._left[gone].add(record.name)
        model = self._model(record)
        layout = None
        if model is not None:
            record = msgspec.structs.replace(
                record, topology=msgspec.structs.replace(model.topology, hostname=record.name)
            )
            layout = msgspec.structs.replace(model.layout, hostname=record.name)
        self._hosts[record.name] = _Host(record, model, layout, held, going, usage)
        self._tabulate(record.name)

    def remove_host(self, name: str) -> None:
        """Forget a host."""
        self._forget_host(name)
        del self._hosts[name]
        self.table.remove(name)

    def put_instance(self, instance: InstanceRecord) -> None:
        """Take in an instance that was claimed, moved or changed."""
        self.drop_instance(instance.id)
        self._remember(instance)
        if instance.host is None or instance.host not in self._hosts:
            return
        host = self._hosts[instance.host]
        host.instances[instance.id] = instance
        if instance.placement is not None:
            if is_contended(host.record.foreign, instance.placement):
                self._put_again(host)
                return
            host.usage = claim(host.usage, instance.placement)
        self._tabulate(instance.host)

    def holds(self, instance: InstanceRecord) -> bool:
        """Whether an instance is known where it is, with the placement that it has."""
        host = self._hosts.get(instance.host or "")
        known = host.instances.get(instance.id) if host is not None else None
        return known is not None and known.placement == instance.placement

    def drop_instance(self, id: str) -> None:
        """Forget an instance and give back what it held; nothing happens when it is not known."""
        name = self._host_of.get(id)
        self._forget(id)
        host = self._hosts.get(name) if name is not None else None
        if name is None or host is None or id not in host.instances:
            return
        instance = host.instances.pop(id)
        if instance.placement is not None:
            if is_contended(host.record.foreign, instance.placement):
                self._put_again(host)  # somebody beside us has some of it still
                return
            host.usage = release(host.usage, instance.placement)
        self._tabulate(name)

    def put_leaving(self, left: Leaving) -> None:
        """Take in a claim that an instance keeps on the host it leaves."""
        host = self._hosts[left.host]
        host.leaving[left.instance] = left
        self._put_again(host)

    def drop_leaving(self, instance: str, name: str) -> None:
        """Forget a claim that was kept: the host said that the instance is gone."""
        host = self._hosts.get(name)
        if host is not None and host.leaving.pop(instance, None) is not None:
            self._left[instance].discard(name)
            self._put_again(host)

    def set_generation(self, name: str, generation: int) -> None:
        """Note that a host's generation moved, by a claim of ours."""
        host = self._hosts[name]
        host.record = msgspec.structs.replace(host.record, generation=generation)

    def set_aggregates(self, records: Iterable[AggregateRecord]) -> None:
        """Replace all aggregates."""
        self.table.set_aggregates(
            Aggregate(id=record.id, name=record.name, metadata=record.metadata, hosts=frozenset(record.hosts))
            for record in records
        )

    def set_groups(self, records: Iterable[GroupRecord]) -> None:
        """Replace all server groups; their members are known from the instances."""
        self.groups = {record.name: record for record in records}

    def host(self, name: str) -> HostRecord | None:
        """What is known of a host."""
        host = self._hosts.get(name)
        return None if host is None else host.record

    def hosts(self) -> list[HostRecord]:
        """All hosts, by name."""
        return [host.record for _, host in sorted(self._hosts.items())]

    def usage(self, name: str) -> Usage:
        """What guests hold on a host, ours and foreign; KeyError when it is not known."""
        return self._hosts[name].usage

    def instances(self, name: str) -> list[InstanceRecord]:
        """A host's instances, by id; KeyError when it is not known."""
        return [instance for _, instance in sorted(self._hosts[name].instances.items())]

    def with_agents(self) -> Iterator[InstanceRecord]:
        """The instances of all hosts that have an agent, in no order."""
        for host in self._hosts.values():
            if host.instances and host.record.agent:
                yield from host.instances.values()

    def held(self, name: str, instance: str) -> InstanceRecord | None:
        """An instance of a host, if it is there; KeyError when the host is not known."""
        return self._hosts[name].instances.get(instance)

    def leaving(self, name: str) -> list[Leaving]:
        """What instances that were placed elsewhere still hold on a host, by their ids; KeyError when not known."""
        return [left for _, left in sorted(self._hosts[name].leaving.items())]

    def left_by(self, instance: str) -> tuple[str, ...]:
        """The hosts that an instance is leaving, by name."""
        return tuple(sorted(self._left.get(instance, ())))

    def group(self, name: str, *, instance: str = "", lost: str | None = None) -> Group | None:
        """A group as filters see it, for one of its instances or a new one; None when it is not known.

        Its other members alone bind an instance, and those on a lost host must leave it too.
        """
        record = self.groups.get(name)
        if record is None:
            return None
        members = {member: host for member, host in self._members.get(name, {}).items() if member != instance}
        return Group(
            name=name,
            policy=record.policy,
            members=frozenset(members),
            hosts=frozenset(host for host in members.values() if host not in (None, lost)),
            max_server_per_host=record.max_server_per_host,
        )

    def other_hosts(self, group: str, instance: str) -> list[str]:
        """The hosts of a group's members beside one, one a member."""
        members = self._members.get(group, {})
        return [host for member, host in members.items() if host is not None and member != instance]

    def fit(self, row: int, wanted: Wanted) -> Placement | Misfit:
        """The exact placement on one host.  An instance that is on this host already does not count against itself."""
        host = self._hosts[self.table.at(row).name]
        own = host.instances.get(wanted.instance)
        room = self._room(host, own)
        if room is None:
            code, why = ("lost-cells", "has lost cells that guests hold")
            if host.layout is None:
                code, why = ("no-topology", "has not reported its topology yet")
            reason = Reason(code=code, message=f"host {host.record.name} {why}")
            return Misfit(host=host.record.name, name=wanted.request.name, misfits=(reason,))
        guests = _names(host) if wanted.guest.l3 else {}
        return fit(room, wanted.guest, guests=guests)

    def change(self, name: str, wanted: Wanted) -> Nearest | None:
        """The smallest change after which a host would take a guest, if a single one is enough."""
        host, request = self._hosts[name], wanted.request
        own = host.instances.get(wanted.instance)
        if host.record.topology is None or self._room(host, own) is None:
            return None
        asked = (request.flavor, request.image)
        if own is None and host.told is not None and host.told[:2] == asked:
            return host.told[2]
        usage = _usage_besides(host, own)
        guests = tuple(one.placement for one in host.instances.values() if one is not own and one.placement is not None)
        found = nearest(host.record.topology, usage, request, host.record.facts.limits, guests=guests, pairs=False)
        if own is None:
            host.told = (*asked, found)
        return found

    def _room(self, host: _Host, own: InstanceRecord | None) -> Room | None:
        """What is left for guests beside ``own``; None where nobody can tell.

        That is a host without a topology, or one that came back without cells that guests hold.
        """
        if own is None and host.room is not None:
            return host.room
        usage = _usage_besides(host, own)
        if host.layout is None or unknown_cells(host.layout, usage):
            return None
        room = measure_room(host.layout, usage, host.record.facts.limits)
        if own is None:
            host.room = room
        return room

    @contextmanager
    def without(self, instance: str) -> Iterator[None]:
        """Inside it the host table does not count what an instance holds, as the exact fit doesn't for the instance."""
        name = self._host_of.get(instance)
        if name is None or name not in self._hosts:
            yield
            return
        self._tabulate(name, without=instance)
        try:
            yield
        finally:
            self._tabulate(name)

    def _tabulate(self, name: str, *, without: str = "") -> None:
        host = self._hosts[name]
        own = host.instances.get(without)
        record = host.record
        flavors = [instance.request.flavor for instance in host.instances.values() if instance is not own]
        devices_used = set(host.usage.devices)
        if own is not None and own.placement is not None:
            devices_used -= {device.pci for device in own.placement.devices}
        left = host.leaving.values()
        host.room = host.told = None
        model = host.model
        ram_mb = model.ram_mb - record.reserved_ram_mb if model else 0
        used_mb = sum(flavor.ram_mb for flavor in flavors) + sum(one.ram_mb for one in left)
        used_gb = sum(flavor.disk_gb + flavor.ephemeral_gb for flavor in flavors) + sum(one.disk_gb for one in left)
        used_vcpus = sum(flavor.vcpus for flavor in flavors) + sum(one.vcpus for one in left)
        devices = model.devices if model else ()
        if devices_used:
            devices = tuple(device for device in devices if device.pci not in devices_used)
        self.table.put(
            HostRow(
                name=name,
                facts=record.facts,
                topology=record.topology,
                room=self._room(host, own),
                vcpus=model.vcpus if model else 0,
                vcpus_used=used_vcpus + record.foreign_vcpus,
                ram_mb=ram_mb,
                free_ram_mb=ram_mb - used_mb - record.foreign_ram_mb,
                free_disk_gb=record.facts.disk_gb - used_gb,
                instances=frozenset(host.instances),
                devices=devices,
                enabled=record.enabled,
                last_seen_s=self._last_seen_s(record),
                kin=sum(self._must_be_joined(instance) for instance in host.instances.values()),
                io_ops=_under_way(host, without=without) if record.agent else 0,
            )
        )

    def _must_be_joined(self, instance: InstanceRecord) -> bool:
        group = self.groups.get(instance.group) if instance.group is not None else None
        return group is not None and group.policy == "affinity"

    def _put_again(self, host: _Host) -> None:
        self.put_host(host.record, tuple(host.instances.values()), tuple(host.leaving.values()))

    def _forget_host(self, name: str) -> None:
        """Forget where the instances of a host are, and who is leaving it."""
        host = self._hosts.get(name)
        for gone in host.instances if host else ():
            if self._host_of.get(gone) == name:
                self._forget(gone)
        for left in host.leaving if host else ():
            self._left[left].discard(name)

    def _model(self, record: HostRecord) -> Model | None:
        """What a host shares with others of its model; compiled for the first of them, kept as long as there is one."""
        model = self._models.get(record.model) if record.model else None
        if model is None and record.topology is not None:
            model = compile_model(record.topology)
            if record.model:
                self._models[record.model] = model
        return model

    def _last_seen_s(self, record: HostRecord) -> float:
        """When a host was last heard from: heartbeats reach the table before the record."""
        if not record.agent:
            return ALWAYS_S
        row = self.table.row_of.get(record.name)
        heard_s = 0.0 if row is None else float(self.table.last_seen_s[row])
        return record.last_seen_s if heard_s == ALWAYS_S else max(record.last_seen_s, heard_s)

    def _remember(self, instance: InstanceRecord) -> None:
        if instance.host is not None:
            self._host_of[instance.id] = instance.host
        if instance.group is not None:
            self._group_of[instance.id] = instance.group
            self._members[instance.group][instance.id] = instance.host

    def _forget(self, id: str) -> None:
        self._host_of.pop(id, None)
        group = self._group_of.pop(id, None)
        if group is not None:
            self._members[group].pop(id, None)


def _usage_besides(host: _Host, own: InstanceRecord | None) -> Usage:
    """What guests other than ``own`` hold on a host."""
    return host.usage if own is None or own.placement is None else release(host.usage, own.placement)


def _under_way(host: _Host, *, without: str) -> int:
    """How many guests the host's agent builds or takes away."""
    others = (one for one in host.instances.values() if one.id != without)
    return sum(one.status is not InstanceStatus.ACTIVE for one in others) + len(host.leaving)


def _names(host: _Host) -> dict[str, CpuSet]:
    """Guest name → the pCPUs it owns, for wishes that name another guest."""
    return {i.name: i.placement.owned() for i in host.instances.values() if i.placement is not None}
