"""The scheduler: instances' lives from the first decision to the last word of their agent.

A decision is made on the cloud in memory and then claimed in one transaction of the store.  When the claim is lost
(another scheduler was there first), that host is read again and the decision is made again.  A change of an instance
is made on the instance as the store has it, and made again when another scheduler changed it meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from agent.core.errors import BadInput, CellwrightError, DoesNotFit
from agent.core.request import Request
from agent.core.wire import Assignment, Confirmation, InstanceStatus, Outcome
from agent.placement.language import parse_guest
from agent.scheduler.depart import Departures
from agent.scheduler.state import WAITING
from agent.scheduler.store import instances
from agent.scheduler.store.database import transaction
from agent.scheduler.store.records import InstanceRecord

MOST_HOSTS_TRIED = 3
TURN_S = 0.0001
"""So long the lock is nobody's: one that is taken again at once is given to none of those who wait for it."""


class Scheduler(Departures):
    """One scheduler process."""

    def create_many(self, request: Request, names: Sequence[str], *, project: str, least: int) -> list[InstanceRecord]:
        """Schedule instances alike but for their names; when fewer than ``least`` fit, none stays on a host.

        What is refused midway (a quota that others used up meanwhile) leaves nothing behind.  Others have their turn
        between two of them; what they delete stays deleted.
        """
        made: list[InstanceRecord] = []
        try:
            for name in names:
                if made:
                    time.sleep(TURN_S)
                made.append(self.create(replace(request, name=name), project=project))
        except CellwrightError:
            for one in made:
                self._if_known(one.id, lambda old: self.delete(old.id))
            raise
        placed = sum(one.host is not None for one in made)
        if placed >= least or placed == 0:
            return made
        why = next(one.reason for one in made if one.host is None)
        reason = f"only {placed} of at least {least} that were wanted fit: {why}"

        def failed(old: InstanceRecord) -> None:
            if old.host is not None and old.status is not InstanceStatus.DELETING:
                new = replace(old, status=InstanceStatus.ERROR, reason=reason, expires_s=None)
                self._leave(new, old, gone=False)

        for one in made:
            self._if_known(one.id, failed)
        return [known for one in made if (known := self._find(one.id)) is not None]

    def move(
        self,
        id: str,
        *,
        request: Request | None = None,
        host: str | None = None,
        stay: bool = False,
        lost: bool = False,
    ) -> InstanceRecord:
        """Place an instance again: on another host (migrate), or with another flavor (resize).

        It begins there once the agent of the host that it leaves says that it is gone, unless that host is ``lost``;
        its claim there stays until then either way.  ``stay`` also considers the host it is on, without counting it
        there twice.  With ``host`` no other is considered; it must pass the filters.  Nothing changes when nothing
        fits: DoesNotFit with the reason.
        """

        def placed_again(old: InstanceRecord) -> InstanceRecord:
            if old.status is InstanceStatus.DELETING:
                raise BadInput(f"instance {old.name} is being deleted")
            asked = request or old.request
            named = host or asked.force_host
            if host is not None:
                self.known_host(host)
            if named in self.cloud.left_by(id):
                raise BadInput(f"instance {old.name} is still leaving host {named}; wait until it is gone there")
            if not stay and named is not None and named == old.host:
                raise BadInput(f"instance {old.name} is on host {named} already")
            if not stay and old.host is not None:
                asked = replace(asked, ignore_hosts=(*asked.ignore_hosts, old.host))
            wanted = self._wanted(asked, old.project, old, only=host, lost=old.host if lost else None)
            moved = replace(old, request=request or old.request, status=InstanceStatus.SCHEDULED, tried=())
            placed, decision = self._claim(moved, wanted, old=old, lost=lost)
            if placed is None:
                where = f"stays on {old.host}" if old.host else "stays nowhere"
                raise DoesNotFit(f"instance {old.name} {where}: {decision.trace.sentence()}")
            return placed

        return self._on(id, placed_again)

    def evacuate(self, id: str, *, request: Request | None = None, host: str | None = None) -> InstanceRecord:
        """Place an instance elsewhere because its host is lost; refused while the host's agent is heard from.

        A host without an agent is taken at the operator's word.  Nobody waits for a lost host; what it still runs of
        ours is removed by its agent when it comes back, and its claims stay until then.  An instance that waits for
        lost hosts since it was moved begins where it is placed.
        """
        old = self.instance(id)
        lost = {host for host in old.waits_for if self.cloud.host(host) is None or not self.is_up(host)}
        if lost:
            return self._on(id, lambda old: self._begin_without(old, lost))
        its = self.cloud.host(old.host) if old.host is not None else None
        if its is not None and its.agent and self.is_up(its.name):
            raise BadInput(f"instance {old.name}: host {its.name} is up; migrate it instead of evacuating it")
        return self.move(id, request=request, host=host, lost=True)

    def rebuild(self, id: str, request: Request) -> InstanceRecord:
        """Give an instance another image in place; only the filters that mind images are asked, on its own host."""

        def rebuilt(old: InstanceRecord) -> InstanceRecord:
            row = self.cloud.table.row_of.get(old.host) if old.host is not None else None
            if row is None:
                raise BadInput(f"instance {old.name} is on no host; only a placed instance can be rebuilt")
            if parse_guest(request).cells != parse_guest(old.request).cells:
                raise BadInput(f"instance {old.name}: the new image would change its guest cells; resize it instead")
            wanted = replace(self._wanted(replace(request, force_host=None), old.project, old), rebuild=True)
            own = np.arange(self.cloud.table.size) == row
            for rule in (rule for rule in self._filters if rule.on_rebuild):
                mask = rule.passing(self.cloud.table, wanted, self.settings, among=own)
                if mask is not None and not mask[row]:
                    wants = rule.wants(wanted, self.settings)
                    raise BadInput(f"instance {old.name}: {rule.name} on {old.host} wants {wants}")
            return self._update(replace(old, request=request))

        return self._on(id, rebuilt)

    def confirm(self, host: str, confirmation: Confirmation) -> None:
        """The agent's word on an instance that is assigned to it; anything about another host's instance is refused."""

        def confirmed(old: InstanceRecord) -> None:
            if confirmation.outcome is Outcome.GONE:
                if old.host != host:
                    self._gone(old, host)
                elif old.status is InstanceStatus.DELETING:
                    self._leave(None, old, gone=True)
                return
            if old.host != host or old.waits_for:
                raise BadInput(f"instance {confirmation.instance} is not assigned to host {host}")
            if old.status is InstanceStatus.DELETING:
                return
            if confirmation.outcome is Outcome.BUILDING:
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
            late = sorted(instance.id for instance in self.cloud.with_agents() if self._is_late(instance))
        return [late_id for late_id in late if self._if_known(late_id, self._give_up)]

    def assignments(self, host: str) -> list[Assignment]:
        """Everything a host should have, and (without a placement) what it should no longer have.

        The latter are instances that are being deleted, those that were placed elsewhere, and those that run there
        although they should not.  An instance that must be gone from another host first is not mentioned, nor is one
        that nobody here knows: a scheduler that forgot must not stop guests.
        """
        with self.lock:
            self.known_host(host)
            held, left = self.cloud.instances(host), self.cloud.leaving(host)
            gone = [Assignment(instance=one.instance, name=one.placement.name, placement=None) for one in left]
            known = {instance.id for instance in held} | {one.instance for one in left}
            strays = map(self._find, sorted(set(self._presence.running(host)) - known))
            gone += [
                Assignment(instance=stray.id, name=stray.name, placement=None)
                for stray in strays
                if stray is not None and stray.host != host
            ]
            return gone + [
                Assignment(
                    instance=instance.id,
                    name=instance.name,
                    placement=None if instance.status is InstanceStatus.DELETING else instance.placement,
                    request=instance.request,
                    owner=instance.project,
                    unconfirmed=instance.status in WAITING,
                )
                for instance in held
                if not instance.waits_for or instance.status is InstanceStatus.DELETING
            ]

    def _begin_without(self, old: InstanceRecord, lost: set[str]) -> InstanceRecord:
        """The operator says that hosts are lost: an instance does not wait for them any more."""
        waits_for = tuple(host for host in old.waits_for if host not in lost)
        expires_s = None if waits_for else self._clock() + self.claim_s
        changed = replace(old, waits_for=waits_for, expires_s=expires_s, updated_s=self._clock())
        with transaction(self.engine) as connection:
            changed = instances.update_instance(connection, changed)
            generation = None if changed.host is None else instances.touch(connection, changed.host)
        self._take_in(changed)
        if changed.host is not None and generation is not None:
            self._moved_on(changed.host, generation)
        return changed

    def _is_late(self, instance: InstanceRecord) -> bool:
        return instance.status in WAITING and instance.expires_s is not None and instance.expires_s < self._clock()

    def _give_up(self, old: InstanceRecord) -> bool:
        if old.host is None or not self._is_late(old):
            return False
        self._retry(old, f"{old.host} never confirmed it")
        return True

    def _retry(self, old: InstanceRecord, why: str) -> None:
        """A host refused, failed or lost an instance: elsewhere with it, up to a bound, or ERROR with the reason.

        A request that forces its host leaves no other.
        """
        host = old.host or ""
        tried = (*old.tried, host)
        reason = f"{host}: {why}"
        again = old.request.force_host is None and old.status is not InstanceStatus.ACTIVE
        if again and len(tried) < MOST_HOSTS_TRIED:
            waiting = replace(old, status=InstanceStatus.SCHEDULED, tried=tried)
            placed, decision = self._claim(waiting, self._wanted(old.request, old.project, old, tried), old=old)
            if placed is not None:
                return
            reason += f"; then {decision.trace.sentence()}"
        failed = replace(old, status=InstanceStatus.ERROR, tried=tried, reason=reason, expires_s=None)
        self._leave(failed, old, gone=False)
