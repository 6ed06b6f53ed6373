"""Decide and claim: select a host in memory, take it in one transaction, and select again when somebody was first."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from agent.core.decision import Decision
from agent.core.errors import BadInput, BadRequest, QuotaExceeded
from agent.core.guest import GuestTopology
from agent.core.placement import Placement
from agent.core.request import Request
from agent.core.wire import InstanceStatus
from agent.scheduler.reports import Reports
from agent.scheduler.select import select
from agent.scheduler.store import catalogue, instances
from agent.scheduler.store.database import transaction
from agent.scheduler.store.leaving import keep_claim
from agent.scheduler.store.records import ClaimLost, InstanceRecord, Leaving
from agent.scheduler.store.take import take_at_once
from agent.scheduler.wanted import Wanted

LOG = logging.getLogger("cellwright.scheduler")
MOST_RACES = 20
STALE_AFTER = 5
"""So many races in a row are lost because of more that others did and nobody told."""


class Decisions(Reports):
    """Creates instances, and finds places for those that must move."""

    def create(self, request: Request, *, project: str = "") -> InstanceRecord:
        """Schedule and claim one new instance; one that fits nowhere is kept in ERROR with the reason."""
        with self.lock:
            meant = self._meanings.of(request)
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
            )
            placed, decision = self._claim(instance, self._wanted(request, project, instance, meant=meant), old=None)
            if placed is not None:
                return placed
            failed = replace(instance, status=InstanceStatus.ERROR, reason=decision.trace.sentence())
            with transaction(self.engine) as connection:
                instances.insert_instance(connection, failed, decision)
            self.cloud.put_instance(failed)
            return failed

    def within_quota(self, request: Request, *, project: str, least: int, most: int) -> int:
        """How many instances, up to ``most``, a quota takes; QuotaExceeded when it does not take ``least``."""
        with transaction(self.engine) as connection:
            for count in range(most, least, -1):
                with suppress(QuotaExceeded):
                    catalogue.check_quota(connection, project, request.flavor, count=count)
                    return count
            catalogue.check_quota(connection, project, request.flavor, count=least)
        return least

    def decide(self, request: Request, *, project: str = "", instance: InstanceRecord | None = None) -> Decision:
        """What would be decided now; nothing is claimed."""
        with self.lock:
            return self._select(self._wanted(request, project, instance))

    def _claim(
        self, instance: InstanceRecord, wanted: Wanted, *, old: InstanceRecord | None, lost: bool = False
    ) -> tuple[InstanceRecord | None, Decision]:
        """Select and claim until both agree; None when nothing fits.

        Where another scheduler was first, an alternate is taken.
        ``old`` is what a moving instance was; ``lost``: nobody waits for the host that it leaves.
        """
        started = self._timer()
        for races in range(1, MOST_RACES + 1):
            decision = self._select(wanted)
            placement = decision.placement
            try:
                placed = None if placement is None else self._take(instance, placement, decision, old=old, lost=lost)
            except ClaimLost as why:
                self.tally.lost()
                self.refresh(sorted({*why.hosts, placement.host if placement else ""} - {""}))
                if races % STALE_AFTER == 0:
                    self.catch_up()
                left = old.host if lost and old is not None else None
                again = self._wanted(
                    wanted.request, wanted.project, old or instance, tried=wanted.tried, only=wanted.only, lost=left
                )
                wanted = replace(again, races=races)
            else:
                self._note(instance, decision, self._timer() - started)
                return placed, decision
        raise BadInput(f"instance {instance.name}: {MOST_RACES} claims in a row were lost to others; try again")

    def _note(self, instance: InstanceRecord, decision: Decision, duration_s: float) -> None:
        """Count a decision and log it: one line, JSON after the word."""
        self.tally.decided(decision, duration_s)
        if LOG.isEnabledFor(logging.INFO):
            trace = decision.trace
            said = {
                "instance": instance.id,
                "name": instance.name,
                "project": instance.project,
                "flavor": instance.request.flavor.name,
                "host": decision.placement.host if decision.placement else None,
                "cells": [cell.host_cell for cell in decision.placement.cells] if decision.placement else [],
                "hosts": trace.hosts,
                "removed": {step.filter: step.removed for step in trace.removed},
                "misfits": trace.misfits_count,
                "duration_ms": round(duration_s * 1000, 2),
            }
            LOG.info("decision %s", msgspec.json.encode(said).decode())

    def _take(
        self,
        instance: InstanceRecord,
        placement: Placement,
        decision: Decision,
        *,
        old: InstanceRecord | None,
        lost: bool,
    ) -> InstanceRecord:
        """All that a placement changes, in one transaction; locks in this order: group, quota, instance, hosts.

        On the host that it stays on an instance changes places at once: its agent takes the old guest away first, and
        before it begins anything new.
        """
        generation = self.known_host(placement.host).generation
        now, moved = self._clock(), 0
        placed = replace(instance, host=placement.host, placement=placement, updated_s=now, reason="")
        left = None
        if old is not None and old.host is not None and self._may_run(old):
            if old.host == placement.host:
                placed = replace(placed, status=InstanceStatus.BUILDING)
            else:
                left = self._left(old)
                placed = replace(placed, waits_for=old.waits_for if lost else (*old.waits_for, old.host))
        placed = replace(placed, expires_s=None if placed.waits_for else now + self.claim_s)
        if old is None and instance.group is None and take_at_once(self.direct, placed, decision, seen=generation):
            return self._taken(placed, placement, generation + 1)
        with self.direct.transaction() as connection:
            if instance.group is not None:
                seen = self.cloud.other_hosts(instance.group, instance.id)
                catalogue.lock_group(connection, instance.group, seen=seen, instance=instance.id)
            if old is None or old.host is None or old.request.flavor != placed.request.flavor:
                catalogue.check_quota(connection, instance.project, instance.request.flavor, instance=instance.id)
            if old is None:
                instances.insert_instance(connection, placed, decision)
            else:
                placed = instances.update_instance(connection, placed, decision)
                if left is not None:
                    moved = keep_claim(connection, left)
                elif old.placement is not None:
                    moved = instances.release(connection, old.id, old.placement)
                    generation += old.host == placement.host
            instances.claim(connection, placed.id, placement, generation=generation)
        self._taken(placed, placement, generation + 1)
        if left is not None:
            self.cloud.put_leaving(left)
        if old is not None and old.host is not None and old.host != placement.host:
            self._moved_on(old.host, moved)
        return placed

    def _taken(self, placed: InstanceRecord, placement: Placement, generation: int) -> InstanceRecord:
        """Take in what was claimed, with its host's new generation."""
        self.cloud.put_instance(placed)
        self.cloud.set_generation(placement.host, generation)
        self._changed(placement.host)
        return placed

    def _may_run(self, old: InstanceRecord) -> bool:
        """Whether an instance's agent may have begun with it, so that only its agent can say that it is gone."""
        host = self.cloud.host(old.host) if old.host is not None else None
        if host is None or not host.agent or old.placement is None:
            return False
        return old.status is not InstanceStatus.SCHEDULED or old.id in self._presence.running(host.name)

    def _left(self, old: InstanceRecord) -> Leaving:
        """What an instance keeps on the host that it leaves."""
        assert old.host is not None
        assert old.placement is not None
        flavor = old.request.flavor
        return Leaving(
            instance=old.id,
            host=old.host,
            vcpus=flavor.vcpus,
            ram_mb=flavor.ram_mb,
            disk_gb=flavor.disk_gb + flavor.ephemeral_gb,
            placement=old.placement,
            since_s=self._clock(),
        )

    def _select(self, wanted: Wanted) -> Decision:
        self.tick()
        with self.cloud.without(wanted.instance):
            return select(
                self.cloud.table,
                wanted,
                filters=self._filters,
                weighers=self._weighers,
                settings=self.settings,
                fit=self.cloud.fit,
                change=self.cloud.change,
            )

    def _wanted(
        self,
        request: Request,
        project: str,
        instance: InstanceRecord | None,
        tried: Iterable[str] = (),
        *,
        meant: GuestTopology | None = None,
        only: str | None = None,
        lost: str | None = None,
    ) -> Wanted:
        """What is to be scheduled, with its group as it is now; nobody of the group is bound to a ``lost`` host."""
        name = instance.group if instance is not None else self._group_name(request)
        own = instance.id if instance is not None else ""
        leaving = self.cloud.left_by(own)
        if leaving:
            request = replace(request, ignore_hosts=(*request.ignore_hosts, *leaving))
        return Wanted(
            request=request,
            meant=meant,
            instance=own,
            project=project,
            group=self.cloud.group(name, instance=own, lost=lost) if name else None,
            tried=frozenset(tried),
            only=only,
        )

    def _group_name(self, request: Request) -> str | None:
        named = request.group or request.hints.get("group")
        if named is None:
            return None
        names = [str(name) for name in named] if isinstance(named, list | tuple) else [str(named)]
        if len(names) != 1 or names[0] not in self.cloud.groups:
            why = "no such server group" if len(names) == 1 else "an instance is in one server group"
            raise BadRequest("group", ", ".join(names), why, allowed=", ".join(sorted(self.cloud.groups)) or None)
        return names[0]
