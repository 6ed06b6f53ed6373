"""The scheduler: takes reports, decides, claims, and keeps the instances' story.

A decision is made on the cloud in memory and then claimed in one transaction of the store.  When the claim is lost
(another scheduler was there first), that host is read again and the decision is made again.  All methods may be called
from several threads; one lock orders them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from agent.core.decision import Decision
from agent.core.errors import BadInput, BadRequest
from agent.core.placement import Placement
from agent.core.request import Request
from agent.core.wire import Assignment, Confirmation, InstanceStatus, Outcome
from agent.placement.language import parse_guest
from agent.scheduler.cloud import Cloud
from agent.scheduler.presence import Presence
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import select
from agent.scheduler.store import catalogue, hosts, instances
from agent.scheduler.store.database import Connection, Engine, transaction
from agent.scheduler.store.records import ClaimLost, HostRecord, InstanceRecord
from agent.scheduler.tally import Tally
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

MOST_RACES = 20
MOST_HOSTS_TRIED = 3


class Scheduler:
    """One scheduler process.  ``clock`` answers seconds since the epoch, ``new_id`` a fresh instance id."""

    def __init__(
        self,
        engine: Engine,
        settings: SchedulingSettings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        changed: Callable[[str], None] = lambda host: None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.cloud = Cloud()
        self._clock = clock
        self._new_id = new_id
        self._changed = changed
        self._timer = timer
        self.tally = Tally()
        self._filters = chosen_filters(settings, all_filters())
        self._weighers = chosen_weighers(settings, all_weighers())
        self._presence = Presence()
        self.lock = threading.RLock()
        self.load()

    def load(self) -> None:
        """Read everything from the store, replacing what is in memory."""
        with self.lock, transaction(self.engine) as connection:
            self.cloud = Cloud()
            by_host: dict[str | None, list[InstanceRecord]] = {}
            for instance in instances.load_instances(connection):
                by_host.setdefault(instance.host, []).append(instance)
            for host in hosts.load_hosts(connection):
                self.cloud.put_host(host, by_host.get(host.name, ()))
            for instance in by_host.get(None, ()):
                self.cloud.put_instance(instance)
            self._load_catalogue(connection)

    def tick(self) -> None:
        """Tell the host table what time it is."""
        self.cloud.table.now_s = self._clock()

    def known_host(self, name: str) -> HostRecord:
        """What is known of a host; BadInput when nothing is."""
        record = self.cloud.host(name)
        if record is None:
            raise BadInput(f"host {name} is not known")
        return record

    def refresh(self, names: Iterable[str]) -> None:
        """Read some hosts again: another scheduler changed them."""
        with self.lock, transaction(self.engine) as connection:
            for name in names:
                self._refresh(connection, name)

    def change_catalogue(self, change: Callable[[Connection], object]) -> None:
        """Run a change of aggregates, flavors, groups, quotas or hosts in one transaction, then take it in."""
        with self.lock:
            with transaction(self.engine) as connection:
                change(connection)
            with transaction(self.engine) as connection:
                self._load_catalogue(connection)

    def put_host(self, host: HostRecord) -> None:
        """A host's report, or a host added by hand: kept and taken in; what it runs of ours stays."""
        with self.lock:
            with transaction(self.engine) as connection:
                old = hosts.load_host(connection, host.name)
                if old is not None:
                    host = replace(host, generation=old.generation + 1, topology=host.topology or old.topology)
                    host = replace(host, enabled=old.enabled, disabled_reason=old.disabled_reason)
                hosts.save_host(connection, host)
                held = instances.load_instances(connection, host=host.name)
            self.cloud.put_host(host, held)

    def report(self, host: HostRecord) -> None:
        """An agent's report: a heartbeat when nothing changed, else the host is kept anew."""
        with self.lock:
            host = replace(host, last_seen_s=self._clock())
            known = self.cloud.host(host.name)
            if known is not None:
                same = replace(
                    host,
                    enabled=known.enabled,
                    disabled_reason=known.disabled_reason,
                    generation=known.generation,
                    last_seen_s=known.last_seen_s,
                )
                if same == known:
                    self.cloud.table.seen(host.name, host.last_seen_s)
                    return
            self.put_host(host)

    def remove_host(self, name: str) -> None:
        """Forget a host without instances."""
        with self.lock:
            with transaction(self.engine) as connection:
                hosts.delete_host(connection, name)
            self.cloud.remove_host(name)

    def enable_host(self, name: str, *, enabled: bool, reason: str = "") -> None:
        """Let new guests onto a host, or keep them off."""
        with self.lock, transaction(self.engine) as connection:
            hosts.enable_host(connection, name, enabled=enabled, reason=reason)
            self._refresh(connection, name)

    def seen(self, name: str) -> None:
        """A heartbeat without news."""
        with self.lock:
            self.known_host(name)
            self.cloud.table.seen(name, self._clock())

    def hear(self, host: str, agent: str, running: tuple[str, ...]) -> None:
        """Who reports for a host, and which of our instances it runs; BadInput when another agent speaks for it."""
        with self.lock:
            self._presence.hear(
                host, agent, running, now_s=self._clock(), silent_after_s=self.settings.service_down_time_s
            )

    def create(self, request: Request, *, project: str = "", claim_s: float | None = 300.0) -> InstanceRecord:
        """Schedule and claim one new instance; one that fits nowhere is kept in ERROR with the reason."""
        parse_guest(request)
        with self.lock:
            now = self._clock()
            instance = InstanceRecord(
                id=self._new_id(),
                name=request.name,
                project=project,
                status=InstanceStatus.SCHEDULED,
                group=self._group_name(request),
                request=request,
                created_s=now,
                updated_s=now,
                expires_s=None if claim_s is None else now + claim_s,
            )
            return self._settle(instance, new=True)

    def decide(self, request: Request, *, project: str = "", instance: InstanceRecord | None = None) -> Decision:
        """What would be decided now; nothing is claimed."""
        with self.lock:
            return self._select(self._wanted(request, project, instance))

    def move(self, id: str, *, request: Request | None = None, stay: bool = False) -> InstanceRecord:
        """Place an instance again: on another host (migrate, evacuate), or with another flavor (resize).

        ``stay`` also considers the host it is on, without counting it there twice.  Nothing changes when nothing fits:
        BadInput with the reason.
        """
        with self.lock:
            old = self.instance(id)
            asked = request or old.request
            if not stay and old.host is not None:
                asked = replace(asked, ignore_hosts=(*asked.ignore_hosts, old.host))
            wanted = self._wanted(asked, old.project, old)
            moved = replace(old, request=request or old.request, status=InstanceStatus.SCHEDULED, tried=())
            placed, decision = self._claim(moved, wanted, old=old)
            if placed is None:
                raise BadInput(f"instance {old.name} stays on {old.host}: {decision.trace.sentence()}")
            return placed

    def rebuild(self, id: str, request: Request) -> InstanceRecord:
        """Give an instance another image in place; only the filters that mind images are asked, on its own host."""
        with self.lock:
            old = self.instance(id)
            if old.host is None:
                raise BadInput(f"instance {old.name} is on no host; only a placed instance can be rebuilt")
            if parse_guest(request).cells != parse_guest(old.request).cells:
                raise BadInput(f"instance {old.name}: the new image would change its guest cells; resize it instead")
            wanted = replace(self._wanted(replace(request, force_host=None), old.project, old), rebuild=True)
            passing = [rule for rule in self._filters if rule.on_rebuild]
            row = self.cloud.table.row_of[old.host]
            for rule in passing:
                mask = rule.mask(self.cloud.table, wanted, self.settings)
                if mask is not None and not mask[row]:
                    raise BadInput(
                        f"instance {old.name}: {rule.name} on {old.host} wants {rule.wants(wanted, self.settings)}"
                    )
            return self._update(replace(old, request=request))

    def delete(self, id: str) -> None:
        """Take an instance away: at once where no agent runs it, else when its agent says that it is gone."""
        with self.lock:
            old = self.instance(id)
            host = self.cloud.host(old.host) if old.host is not None else None
            if host is not None and host.agent:
                self._update(replace(old, status=InstanceStatus.DELETING, expires_s=None))
            else:
                self._drop(old)

    def confirm(self, host: str, confirmation: Confirmation) -> None:
        """The agent's word on an instance that is assigned to it; anything about another host's instance is refused."""
        with self.lock:
            old = self._find(confirmation.instance)
            if old is None or old.host != host:
                if confirmation.outcome is Outcome.GONE:
                    return
                raise BadInput(f"instance {confirmation.instance} is not assigned to host {host}")
            if confirmation.outcome is Outcome.GONE and old.status is InstanceStatus.DELETING:
                self._drop(old)
            elif old.status is InstanceStatus.DELETING:
                return
            elif confirmation.outcome is Outcome.BUILDING:
                self._update(replace(old, status=InstanceStatus.BUILDING))
            elif confirmation.outcome is Outcome.VERIFIED:
                self._update(replace(old, status=InstanceStatus.ACTIVE, expires_s=None, reason=""))
            else:
                self._retry(old, confirmation)

    def expire(self) -> list[str]:
        """Give up claims that no agent took up in time, unless their guest runs; the answer is their ids."""
        with self.lock:
            now = self._clock()
            late = []
            for record in self.cloud.hosts():
                for instance in self.cloud.instances(record.name):
                    waiting = instance.status in (InstanceStatus.SCHEDULED, InstanceStatus.BUILDING)
                    if waiting and record.agent and instance.expires_s is not None and instance.expires_s < now:
                        late.append(instance)
            for instance in late:
                gone = Confirmation(
                    instance=instance.id, outcome=Outcome.FAILED, reason=f"{instance.host} never confirmed it"
                )
                self._retry(instance, gone)
            return [instance.id for instance in late]

    def assignments(self, host: str) -> list[Assignment]:
        """Everything a host should have, and (without a placement) what it should no longer have.

        The latter are instances that are being deleted, and those that run there although they were placed elsewhere
        since.  An instance that nobody here knows is not mentioned: a scheduler that forgot must not stop guests.
        """
        with self.lock:
            self.known_host(host)
            running = [self._find(one) for one in self._presence.running(host)]
            strays = [one for one in running if one is not None and one.host != host]
            gone = [Assignment(instance=stray.id, name=stray.name, placement=None) for stray in strays]
            return gone + [
                Assignment(
                    instance=instance.id,
                    name=instance.name,
                    placement=None if instance.status is InstanceStatus.DELETING else instance.placement,
                    request=instance.request,
                    owner=instance.project,
                )
                for instance in self.cloud.instances(host)
            ]

    def _settle(self, instance: InstanceRecord, *, new: bool) -> InstanceRecord:
        """Claim a host for an instance without one, or keep it in ERROR."""
        started = self._timer()
        wanted = self._wanted(instance.request, instance.project, instance, tried=instance.tried)
        placed, decision = self._claim(instance, wanted, new=new)
        self.tally.decided(decision, self._timer() - started)
        if placed is not None:
            return placed
        failed = replace(
            instance, status=InstanceStatus.ERROR, host=None, placement=None, reason=decision.trace.sentence()
        )
        with transaction(self.engine) as connection:
            (instances.insert_instance if new else instances.update_instance)(connection, failed, decision)
        self.cloud.put_instance(failed)
        return failed

    def _claim(
        self, instance: InstanceRecord, wanted: Wanted, *, new: bool = False, old: InstanceRecord | None = None
    ) -> tuple[InstanceRecord | None, Decision]:
        """Select and claim until both agree; None when nothing fits."""
        for _ in range(MOST_RACES):
            decision = self._select(wanted)
            if decision.placement is None:
                return None, decision
            try:
                return self._take(instance, decision.placement, decision, new=new, old=old), decision
            except ClaimLost as lost:
                self.tally.lost()
                self.refresh(lost.hosts)
                wanted = self._wanted(wanted.request, wanted.project, old or instance, tried=tuple(wanted.tried))
        raise BadInput(f"instance {instance.name}: {MOST_RACES} claims in a row were lost to others; try again")

    def _take(
        self,
        instance: InstanceRecord,
        placement: Placement,
        decision: Decision,
        *,
        new: bool,
        old: InstanceRecord | None,
    ) -> InstanceRecord:
        generation = self.known_host(placement.host).generation
        placed = replace(instance, host=placement.host, placement=placement, updated_s=self._clock(), reason="")
        with transaction(self.engine) as connection:
            if instance.group is not None:
                seen = self.cloud.other_hosts(instance.group, instance.id)
                catalogue.lock_group(connection, instance.group, seen=seen, instance=instance.id)
            if new:
                catalogue.check_quota(connection, instance.project, instance.request.flavor)
                instances.insert_instance(connection, placed, decision)
            if old is not None and old.placement is not None and old.host is not None:
                instances.release(connection, old.id, old.placement)
                generation += old.host == placement.host
            instances.claim(connection, placed.id, placement, generation=generation)
            if not new:
                instances.update_instance(connection, placed, decision)
        if old is not None and old.host is not None and old.host != placement.host:
            self.refresh([old.host])
            self._changed(old.host)
        self.cloud.put_instance(placed)
        self.cloud.set_generation(placement.host, generation + 1)
        self._changed(placement.host)
        return placed

    def _retry(self, old: InstanceRecord, confirmation: Confirmation) -> None:
        """A host refused, failed or lost an instance: elsewhere with it, up to a bound, or ERROR with the reason."""
        host = old.host or ""
        misfit = confirmation.misfit
        why = misfit.misfits[0].message if misfit and misfit.misfits else confirmation.reason or confirmation.outcome
        self._release(old)
        tried = (*old.tried, host)
        waiting = replace(old, host=None, placement=None, tried=tried, updated_s=self._clock())
        if old.status is InstanceStatus.ACTIVE or len(tried) >= MOST_HOSTS_TRIED:
            failed = replace(waiting, status=InstanceStatus.ERROR, reason=f"{host}: {why}")
            with transaction(self.engine) as connection:
                instances.update_instance(connection, failed)
            self.cloud.put_instance(failed)
        else:
            settled = self._settle(replace(waiting, status=InstanceStatus.SCHEDULED), new=False)
            if settled.status is InstanceStatus.ERROR:
                self._update(replace(settled, reason=f"{host}: {why}; then {settled.reason}"))
        self._changed(host)

    def _release(self, old: InstanceRecord) -> None:
        if old.placement is None or old.host is None:
            return
        with transaction(self.engine) as connection:
            instances.release(connection, old.id, old.placement)
            instances.update_instance(connection, replace(old, host=None, placement=None))
        self.cloud.drop_instance(old.id)
        self.cloud.set_generation(old.host, self.known_host(old.host).generation + 1)

    def _drop(self, old: InstanceRecord) -> None:
        self._release(old)
        with transaction(self.engine) as connection:
            instances.delete_instance(connection, old.id)
        self.cloud.drop_instance(old.id)
        if old.host is not None:
            self._changed(old.host)

    def _update(self, changed: InstanceRecord) -> InstanceRecord:
        changed = replace(changed, updated_s=self._clock())
        with transaction(self.engine) as connection:
            instances.update_instance(connection, changed)
        self.cloud.put_instance(changed)
        if changed.host is not None:
            self._changed(changed.host)
        return changed

    def _select(self, wanted: Wanted) -> Decision:
        self.tick()
        return select(
            self.cloud.table,
            wanted,
            filters=self._filters,
            weighers=self._weighers,
            settings=self.settings,
            fit=self.cloud.fit,
        )

    def _wanted(
        self, request: Request, project: str, instance: InstanceRecord | None, tried: Iterable[str] = ()
    ) -> Wanted:
        name = self._group_name(request)
        return Wanted(
            request=request,
            instance=instance.id if instance else "",
            project=project,
            group=self.cloud.group(name) if name else None,
            tried=frozenset(tried),
        )

    def _group_name(self, request: Request) -> str | None:
        name = request.group or request.hints.get("group")
        if name is not None and str(name) not in self.cloud.groups:
            raise BadRequest(
                "group", name, "no such server group", allowed=", ".join(sorted(self.cloud.groups)) or None
            )
        return None if name is None else str(name)

    def _find(self, id: str) -> InstanceRecord | None:
        with transaction(self.engine) as connection:
            return instances.load_instance(connection, id)

    def instance(self, id: str) -> InstanceRecord:
        """One instance; BadInput when it is not known."""
        found = self._find(id)
        if found is None:
            raise BadInput(f"instance {id} is not known")
        return found

    def _refresh(self, connection: Connection, name: str) -> None:
        record = hosts.load_host(connection, name)
        if record is None:
            if self.cloud.host(name) is not None:
                self.cloud.remove_host(name)
            return
        self.cloud.put_host(record, instances.load_instances(connection, host=name))

    def _load_catalogue(self, connection: Connection) -> None:
        self.cloud.set_aggregates(catalogue.load_aggregates(connection))
        self.cloud.set_groups(catalogue.load_groups(connection))
