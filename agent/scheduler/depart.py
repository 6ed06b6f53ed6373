"""Instances that go: from a host that they leave, into ERROR, or altogether; and hosts that go.

What an agent may run stays claimed until that agent says that it is gone, so that no guest begins on pCPUs that
another still uses, and none runs twice.  An operator may say so in the agent's place: by deleting the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from agent.core.errors import BadInput
from agent.core.wire import InstanceStatus
from agent.scheduler.decide import MOST_RACES, Decisions
from agent.scheduler.state import WAITING
from agent.scheduler.store import catalogue, hosts, instances
from agent.scheduler.store.database import Connection, transaction
from agent.scheduler.store.leaving import end_claim, keep_claim, load_leaving
from agent.scheduler.store.records import ClaimLost, InstanceRecord, Leaving, Overtaken

T = TypeVar("T")


class Departures(Decisions):
    """Deletes instances and hosts, and hears of what is gone."""

    def delete(self, id: str) -> None:
        """Take an instance away: at once where no agent runs it, else when its agents say that it is gone."""

        def deleted(old: InstanceRecord) -> None:
            host = self.cloud.host(old.host) if old.host is not None else None
            if host is None or not host.agent:
                self._leave(None, old, gone=True)
            elif old.status is not InstanceStatus.DELETING:
                changed = replace(old, status=InstanceStatus.DELETING, expires_s=None, updated_s=self._clock())
                with transaction(self.engine) as connection:
                    changed = instances.update_instance(connection, changed)
                    generation = instances.touch(connection, host.name)
                self._take_in(changed)
                self._moved_on(host.name, generation)

        self._on(id, deleted)

    def remove_host(self, name: str) -> None:
        """Forget a host without instances; what is still leaving it counts as gone, at the operator's word."""
        with self.lock:
            known = self.cloud.host(name)
            going = self.cloud.leaving(name) if known is not None else []
            if known is not None and going and self.is_up(name):
                first = going[0].instance
                raise BadInput(f"host {name} is up and still stops {len(going)} instances, {first} among them")
            try:
                with transaction(self.engine) as connection:
                    catalogue.count_change(connection)  # its aggregates lose it
                    going = load_leaving(connection, host=name)
                    ended = [self._end(connection, left) for left in going]
                    hosts.delete_host(connection, name)
            except Overtaken:
                raise ClaimLost(name) from None
            for left, end in zip(going, ended, strict=True):
                self._take_end(left, *end)
            self.drop_host(name)
            self.follow_catalogue()
            if known is not None and known.model:
                self._forget_model(known.model)

    def _gone(self, old: InstanceRecord, host: str) -> None:
        """A host says that an instance is gone from it that was placed elsewhere; nothing happens when it was known."""
        with transaction(self.engine) as connection:
            left = next((one for one in load_leaving(connection, instance=old.id) if one.host == host), None)
            if left is None:
                return
            end = self._end(connection, left)
        self._take_end(left, *end)

    def _end(self, connection: Connection, left: Leaving) -> tuple[InstanceRecord | None, dict[str, int]]:
        """Give back what an instance left behind.

        The answer is the instance, which may begin elsewhere now, or None when nothing is left of it, and the new
        generations of hosts.
        """
        old = instances.load_instance(connection, left.instance)
        if old is None:
            raise Overtaken
        waits_for = tuple(host for host in old.waits_for if host != left.host)
        begins = bool(old.waits_for) and not waits_for and old.host is not None
        new = replace(old, waits_for=waits_for, updated_s=self._clock())
        if begins and old.status in WAITING:
            new = replace(new, expires_s=self._clock() + self.claim_s)
        new = instances.update_instance(connection, new)
        generations = {left.host: end_claim(connection, left)}
        if begins and new.host is not None:
            generations[new.host] = instances.touch(connection, new.host)
        if new.host is None and new.status is InstanceStatus.DELETING and not load_leaving(connection, instance=new.id):
            instances.delete_instance(connection, new)
            return None, generations
        return new, generations

    def _take_end(self, left: Leaving, instance: InstanceRecord | None, generations: dict[str, int]) -> None:
        self.cloud.drop_leaving(left.instance, left.host)
        if instance is None:
            self.cloud.drop_instance(left.instance)
        else:
            self._take_in(instance)
        for host, generation in generations.items():
            self._moved_on(host, generation)

    def _leave(self, new: InstanceRecord | None, old: InstanceRecord, *, gone: bool) -> None:
        """Take an instance off its host, to be kept without one or not at all; ``gone``: nothing of it runs there."""
        generation = None
        left = None if gone or not self._may_run(old) else self._left(old)
        kept = replace(new or old, host=None, placement=None, expires_s=None, updated_s=self._clock())
        if new is None:
            kept = replace(kept, status=InstanceStatus.DELETING)
        if left is not None:
            kept = replace(kept, waits_for=(*kept.waits_for, left.host))
        with transaction(self.engine) as connection:
            kept = instances.update_instance(connection, kept)
            if left is not None:
                generation = keep_claim(connection, left)
            elif old.placement is not None:
                generation = instances.release(connection, old.id, old.placement)
            forgotten = new is None and not load_leaving(connection, instance=old.id)
            if forgotten:
                instances.delete_instance(connection, kept)
        self.cloud.drop_instance(old.id)
        if not forgotten:
            self.cloud.put_instance(kept)
        if left is not None:
            self.cloud.put_leaving(left)
        if old.host is not None and generation is not None:
            self._moved_on(old.host, generation)

    def _if_known(self, id: str, change: Callable[[InstanceRecord], T]) -> T | None:
        """Change an instance, unless another deleted it meanwhile."""
        with self.lock:
            return None if self._find(id) is None else self._on(id, change)

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
