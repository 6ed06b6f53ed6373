"""The scheduler: instances' lives from the first decision to the last word of their agent.

A decision is made on the cloud in memory and then claimed in one transaction of the store.  When the claim is lost
(another scheduler was there first), that host is read again and the decision is made again.  A change of an instance
is made on the instance as the store has it, and made again when another scheduler changed it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from agent.core.errors import BadInput
from agent.core.request import Request
from agent.core.wire import Assignment, Confirmation, InstanceStatus, Outcome
from agent.placement.language import parse_guest
from agent.scheduler.decide import MOST_RACES, Decisions
from agent.scheduler.state import WAITING
from agent.scheduler.store import instances
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import ClaimLost, InstanceRecord, Overtaken

MOST_HOSTS_TRIED = 3

T = TypeVar("T")


class Scheduler(Decisions):
    """One scheduler process."""

    def move(self, id: str, *, request: Request | None = None, stay: bool = False) -> InstanceRecord:
        """Place an instance again: on another host (migrate), or with another flavor (resize).

        ``stay`` also considers the host it is on, without counting it there twice.  Nothing changes when nothing fits:
        BadInput with the reason.
        """

        def placed_again(old: InstanceRecord) -> InstanceRecord:
            if old.status is InstanceStatus.DELETING:
                raise BadInput(f"instance {old.name} is being deleted")
            asked = request or old.request
            if not stay and old.host is not None:
                asked = replace(asked, ignore_hosts=(*asked.ignore_hosts, old.host))
            wanted = self._wanted(asked, old.project, old)
            moved = replace(old, request=request or old.request, status=InstanceStatus.SCHEDULED, tried=())
            placed, decision = self._claim(moved, wanted, old=old)
            if placed is None:
                where = f"stays on {old.host}" if old.host else "stays nowhere"
                raise BadInput(f"instance {old.name} {where}: {decision.trace.sentence()}")
            return placed

        return self._on(id, placed_again)

    def evacuate(self, id: str, *, request: Request | None = None) -> InstanceRecord:
        """Place an instance elsewhere because its host is lost; refused while the host's agent is heard from.

        A host without an agent is taken at the operator's word.  What the lost host still ran of ours is removed by its
        agent when it comes back, because it is not assigned to it any more.
        """
        old = self.instance(id)
        host = self.cloud.host(old.host) if old.host is not None else None
        if host is not None and host.agent:
            self.tick()
            table = self.cloud.table
            if table.up(self.settings.service_down_time_s)[table.row_of[host.name]]:
                raise BadInput(f"instance {old.name}: host {host.name} is up; migrate it instead of evacuating it")
        return self.move(id, request=request)

    def rebuild(self, id: str, request: Request) -> InstanceRecord:
        """Give an instance another image in place; only the filters that mind images are asked, on its own host."""

        def rebuilt(old: InstanceRecord) -> InstanceRecord:
            row = self.cloud.table.row_of.get(old.host) if old.host is not None else None
            if row is None:
                raise BadInput(f"instance {old.name} is on no host; only a placed instance can be rebuilt")
            if parse_guest(request).cells != parse_guest(old.request).cells:
                raise BadInput(f"instance {old.name}: the new image would change its guest cells; resize it instead")
            wanted = replace(self._wanted(replace(request, force_host=None), old.project, old), rebuild=True)
            for rule in (rule for rule in self._filters if rule.on_rebuild):
                mask = rule.mask(self.cloud.table, wanted, self.settings)
                if mask is not None and not mask[row]:
                    wants = rule.wants(wanted, self.settings)
                    raise BadInput(f"instance {old.name}: {rule.name} on {old.host} wants {wants}")
            return self._update(replace(old, request=request))

        return self._on(id, rebuilt)

    def delete(self, id: str) -> None:
        """Take an instance away: at once where no agent runs it, else when its agent says that it is gone."""

        def deleted(old: InstanceRecord) -> None:
            host = self.cloud.host(old.host) if old.host is not None else None
            if host is None or not host.agent:
                self._drop(old)
            elif old.status is not InstanceStatus.DELETING:
                changed = replace(old, status=InstanceStatus.DELETING, expires_s=None, updated_s=self._clock())
                with transaction(self.engine) as connection:
                    changed = instances.update_instance(connection, changed)
                    generation = instances.touch(connection, host.name)
                self._take_in(changed)
                self._moved_on(host.name, generation)

        self._on(id, deleted)

    def confirm(self, host: str, confirmation: Confirmation) -> None:
        """The agent's word on an instance that is assigned to it; anything about another host's instance is refused."""

        def confirmed(old: InstanceRecord) -> None:
            if old.host != host:
                if confirmation.outcome is Outcome.GONE:
                    return
                raise BadInput(f"instance {confirmation.instance} is not assigned to host {host}")
            if old.status is InstanceStatus.DELETING:
                if confirmation.outcome is Outcome.GONE:
                    self._drop(old)
            elif confirmation.outcome is Outcome.BUILDING:
                self._update(replace(old, status=InstanceStatus.BUILDING))
            elif confirmation.outcome is Outcome.VERIFIED:
                self._update(replace(old, status=InstanceStatus.ACTIVE, expires_s=None, reason=""))
            else:
                misfit = confirmation.misfit
                why = misfit.misfits[0].message if misfit and misfit.misfits else confirmation.reason
                self._retry(old, why or confirmation.outcome)

        if confirmation.outcome is Outcome.GONE and self._find(confirmation.instance) is None:
            return
        self._on(confirmation.instance, confirmed)

    def expire(self) -> list[str]:
        """Give up claims that no agent took up in time, unless their guest runs; the answer is their ids."""
        with self.lock:
            late = [
                instance.id
                for record in self.cloud.hosts()
                for instance in self.cloud.instances(record.name)
                if record.agent and self._is_late(instance)
            ]
        return [late_id for late_id in late if self._find(late_id) is not None and self._on(late_id, self._give_up)]

    def assignments(self, host: str) -> list[Assignment]:
        """Everything a host should have, and (without a placement) what it should no longer have.

        The latter are instances that are being deleted, and those that run there although they were placed elsewhere
        since.  An instance that nobody here knows is not mentioned: a scheduler that forgot must not stop guests.
        """
        with self.lock:
            self.known_host(host)
            held = self.cloud.instances(host)
            others = set(self._presence.running(host)) - {instance.id for instance in held}
            strays = [stray for stray in map(self._find, sorted(others)) if stray is not None and stray.host != host]
            gone = [Assignment(instance=stray.id, name=stray.name, placement=None) for stray in strays]
            return gone + [
                Assignment(
                    instance=instance.id,
                    name=instance.name,
                    placement=None if instance.status is InstanceStatus.DELETING else instance.placement,
                    request=instance.request,
                    owner=instance.project,
                )
                for instance in held
            ]

    def _on(self, id: str, change: Callable[[InstanceRecord], T]) -> T:
        """Change an instance as the store has it now, and again when another scheduler changed it meanwhile."""
        with self.lock:
            for _ in range(MOST_RACES):
                old = self.instance(id)
                try:
                    return change(old)
                except (Overtaken, ClaimLost):
                    self.refresh([old.host] if old.host is not None else [])
        raise BadInput(f"instance {id}: changed by others {MOST_RACES} times in a row; try again")

    def _is_late(self, instance: InstanceRecord) -> bool:
        return instance.status in WAITING and instance.expires_s is not None and instance.expires_s < self._clock()

    def _give_up(self, old: InstanceRecord) -> bool:
        if old.host is None or not self._is_late(old):
            return False
        self._retry(old, f"{old.host} never confirmed it")
        return True

    def _retry(self, old: InstanceRecord, why: str) -> None:
        """A host refused, failed or lost an instance: elsewhere with it, up to a bound, or ERROR with the reason."""
        host = old.host or ""
        tried = (*old.tried, host)
        reason = f"{host}: {why}"
        if old.status is not InstanceStatus.ACTIVE and len(tried) < MOST_HOSTS_TRIED:
            waiting = replace(old, status=InstanceStatus.SCHEDULED, tried=tried)
            placed, decision = self._claim(waiting, self._wanted(old.request, old.project, old, tried), old=old)
            if placed is not None:
                return
            reason += f"; then {decision.trace.sentence()}"
        failed = replace(old, status=InstanceStatus.ERROR, tried=tried, reason=reason, expires_s=None)
        self._leave(failed, old)

    def _drop(self, old: InstanceRecord) -> None:
        """Forget an instance, with its claim."""
        self._leave(None, old)

    def _leave(self, new: InstanceRecord | None, old: InstanceRecord) -> None:
        """Take an instance off its host, to be kept without one or not at all."""
        generation = None
        kept = replace(new or old, host=None, placement=None, updated_s=self._clock())
        with transaction(self.engine) as connection:
            kept = instances.update_instance(connection, kept)
            if old.placement is not None:
                generation = instances.release(connection, old.id, old.placement)
            if new is None:
                instances.delete_instance(connection, kept)
        self.cloud.drop_instance(old.id)
        if new is not None:
            self.cloud.put_instance(kept)
        if old.host is not None and generation is not None:
            self._moved_on(old.host, generation)
