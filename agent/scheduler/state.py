"""What one scheduler process knows: the cloud in memory, kept in step with the store that decides.

Reports, operators' changes and other schedulers' changes come in here.  All methods may be called from several threads;
one lock orders them.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from agent.core.errors import BadInput, Unreachable
from agent.core.wire import InstanceStatus
from agent.scheduler.cloud import Cloud
from agent.scheduler.hints import check_hints
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.store import catalogue, hosts, instances
from agent.scheduler.store.database import Connection, Engine, transaction
from agent.scheduler.store.direct import Direct
from agent.scheduler.store.leaving import load_leaving
from agent.scheduler.store.records import ClaimLost, HostRecord, InstanceRecord, Leaving
from agent.scheduler.tally import Tally
from agent.scheduler.wanted import Meanings
from agent.settings.scheduling import SchedulingSettings

WAITING = (InstanceStatus.SCHEDULED, InstanceStatus.BUILDING)
"""An instance that its host's agent has not confirmed yet."""

MOST_AT_ONCE = 50
"""Hosts that are read again while nobody may decide."""


@contextmanager
def without_gc() -> Iterator[None]:
    """Python's collector looks at everything again and again while much is read; what was read it then leaves alone."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class State:
    """The memory of one scheduler.

    ``clock`` answers seconds since the epoch, ``new_id`` a fresh instance id; ``changed`` is told hosts with something
    new for their agents.  ``claim_s`` bounds how long an agent may leave a claim unconfirmed.
    """

    def __init__(
        self,
        engine: Engine,
        settings: SchedulingSettings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        changed: Callable[[str], None] = lambda host: None,
        timer: Callable[[], float] = time.perf_counter,
        claim_s: float = 300.0,
    ) -> None:
        self.engine = engine
        self.direct = Direct(engine)
        self.claim_s = claim_s
        self.cloud = Cloud()
        self.tally = Tally()
        self.lock = threading.RLock()
        self._clock = clock
        self._new_id = new_id
        self._changed = changed
        self._timer = timer
        self.change_settings(settings)
        self.catalogue_number = -1
        self._meanings = Meanings()
        self._heard: dict[str, float] = {}
        self.load()

    def change_settings(self, settings: SchedulingSettings) -> None:
        """Decide by these filters, weighers and limits from now on; BadInput for a name that there is none of."""
        filters, weighers = chosen_filters(settings, all_filters()), chosen_weighers(settings, all_weighers())
        ours = {*all_filters(()).values(), *all_weighers(()).values()}
        with self.lock:
            self.settings, self._filters, self._weighers = settings, filters, weighers
            self._only_ours = ours.issuperset((*filters, *weighers))

    def load(self) -> None:
        """Read everything from the store, replacing what is in memory."""
        cloud = Cloud()
        with self.lock, transaction(self.engine, snapshot=True) as connection, cloud.table.filling(), without_gc():
            self.cloud = cloud
            by_host: dict[str | None, list[InstanceRecord]] = {}
            records = hosts.load_hosts(connection)
            for instance in instances.load_instances(connection):
                by_host.setdefault(instance.host, []).append(instance)
            leaving: dict[str, list[Leaving]] = {}
            for left in load_leaving(connection):
                leaving.setdefault(left.host, []).append(left)
            for host in records:
                self.cloud.put_host(host, by_host.get(host.name, ()), leaving.get(host.name, ()))
            for instance in by_host.get(None, ()):
                self.cloud.put_instance(instance)
            self._load_catalogue(connection)

    def check_hints(self, hints: Mapping[str, object]) -> None:
        """BadRequest for a scheduler hint that nothing in force reads."""
        check_hints(hints, in_force={rule.name for rule in self._filters}, only_ours=self._only_ours)

    def tick(self) -> None:
        """Tell the host table what time it is."""
        self.cloud.table.now_s = self._clock()

    def is_up(self, name: str) -> bool:
        """Whether a known host was heard from lately; one without an agent is always up."""
        self.tick()
        table = self.cloud.table
        return bool(table.up(self.settings.service_down_time_s)[table.row_of[name]])

    def known_host(self, name: str) -> HostRecord:
        """What is known of a host; BadInput when nothing is."""
        record = self.cloud.host(name)
        if record is None:
            raise BadInput(f"host {name} is not known")
        return record

    def instance(self, id: str) -> InstanceRecord:
        """One instance as the store has it; BadInput when it is not known."""
        found = self._find(id)
        if found is None:
            raise BadInput(f"instance {id} is not known")
        return found

    def refresh(self, names: Iterable[str]) -> None:
        """Read some hosts again: another scheduler changed them."""
        with self.lock, transaction(self.engine, snapshot=True) as connection:
            for name in names:
                self._refresh(connection, name)

    def follow(self, generations: Mapping[str, int | None]) -> None:
        """Other schedulers say that hosts are at these generations, or gone (None): read again what is not known so."""
        names = list(generations)
        for start in range(0, len(names), MOST_AT_ONCE):
            some = names[start : start + MOST_AT_ONCE]
            with self.lock:
                if behind := [name for name in some if self._is_behind(name, generations[name])]:
                    self.refresh(behind)
            for name in behind:
                self._changed(name)

    def follow_catalogue(self) -> None:
        """Another scheduler changed aggregates or groups: read them again if that is not known."""
        with self.lock, transaction(self.engine) as connection:
            if catalogue.catalogue_number(connection) != self.catalogue_number:
                self._load_catalogue(connection)

    def catch_up(self) -> None:
        """Share heartbeats with other schedulers, and read again whatever they changed, heard of or not."""
        with self.lock:
            heard, self._heard = self._heard, {}
        with transaction(self.engine) as connection:
            hosts.save_heartbeats(connection, heard)
        with transaction(self.engine) as connection:
            pulse = hosts.load_pulse(connection)
        with self.lock:
            gone = dict.fromkeys(record.name for record in self.cloud.hosts())
        self.follow(gone | {name: generation for name, generation, _ in pulse})
        for name, _, seen_s in pulse:
            with self.lock:
                host = self.cloud.host(name)
                if host is not None and host.agent:
                    self.cloud.table.seen(name, seen_s)
        self.follow_catalogue()

    def change_catalogue(self, change: Callable[[Connection], object]) -> None:
        """Run a change of aggregates, flavors, groups, quotas or tokens in one transaction, then take it in."""
        with self.lock:
            with transaction(self.engine) as connection:
                catalogue.count_change(connection)
                change(connection)
            with transaction(self.engine) as connection:
                self._load_catalogue(connection)

    def put_host(self, host: HostRecord) -> None:
        """A host's report, or a host added by hand: kept and taken in; what it runs of ours stays."""
        with self.lock:
            if host.topology is None and self.cloud.host(host.name) is not None:
                host = replace(host, topology=self.known_host(host.name).topology)
            with self.direct.transaction() as connection:
                old = hosts.lock_host(connection, host.name)
                if old is None or old.model != host.model:
                    host = replace(host, model="")
                if old is not None:
                    host = replace(
                        host,
                        enabled=old.enabled,
                        disabled_reason=old.disabled_reason,
                        generation=old.generation + 1,
                    )
                host = hosts.save_host(connection, host)
                held = instances.load_instances(connection, host=host.name)
                leaving = load_leaving(connection, host=host.name)
            self.cloud.put_host(host, held, leaving)
            if old is not None and old.model not in ("", host.model):
                self._forget_model(old.model)

    def drop_host(self, name: str) -> None:
        """Forget a host that the store has no more; nothing happens when it is not known."""
        self._heard.pop(name, None)
        if self.cloud.host(name) is not None:
            self.cloud.remove_host(name)

    def enable_host(self, name: str, *, enabled: bool, reason: str = "") -> None:
        """Let new guests onto a host, or keep them off."""
        with self.lock:
            with transaction(self.engine) as connection:
                hosts.enable_host(connection, name, enabled=enabled, reason=reason)
            self.refresh([name])

    def _update(self, changed: InstanceRecord) -> InstanceRecord:
        """Keep a change of an instance that moves no claim; Overtaken when another changed it first."""
        with transaction(self.engine) as connection:
            changed = instances.update_instance(connection, replace(changed, updated_s=self._clock()))
        self._take_in(changed)
        if changed.host is not None:
            self._changed(changed.host)
        return changed

    def _take_in(self, changed: InstanceRecord) -> None:
        """Take in an instance that another scheduler may have placed: then its host is read again."""
        if changed.host is None or self.cloud.holds(changed):
            self.cloud.put_instance(changed)
        else:
            self.refresh([changed.host])

    def _forget_model(self, model: str) -> None:
        """Delete a topology if no host has it any more; a database that is busy with it keeps it."""
        with suppress(Unreachable, ClaimLost), transaction(self.engine) as connection:
            hosts.forget_model(connection, model)

    def _moved_on(self, host: str, generation: int) -> None:
        """A change of ours brought a host to a generation; where others were there too, it is read again."""
        if generation == self.known_host(host).generation + 1:
            self.cloud.set_generation(host, generation)
        else:
            self.refresh([host])
        self._changed(host)

    def _find(self, id: str) -> InstanceRecord | None:
        with transaction(self.engine) as connection:
            return instances.load_instance(connection, id)

    def _is_behind(self, name: str, generation: int | None) -> bool:
        known = self.cloud.host(name)
        return generation is None or known is None or known.generation < generation

    def _refresh(self, connection: Connection, name: str) -> None:
        record = hosts.load_host(connection, name, known=self.cloud.host(name))
        if record is None:
            self.drop_host(name)
            return
        held = instances.load_instances(connection, host=name)
        self.cloud.put_host(record, held, load_leaving(connection, host=name))

    def _load_catalogue(self, connection: Connection) -> None:
        number = catalogue.catalogue_number(connection)
        self.cloud.set_aggregates(catalogue.load_aggregates(connection))
        self.cloud.set_groups(catalogue.load_groups(connection))
        self.catalogue_number = number
