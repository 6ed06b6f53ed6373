"""Any order of creating, deleting, moving, confirming, expiring and reporting keeps the books straight."""

import itertools
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from msgspec.structs import replace
from sqlalchemy import text

from agent.core.claims import claim
from agent.core.errors import BadInput
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.topology import Device
from agent.core.usage import Usage
from agent.core.wire import Confirmation, InstanceStatus, Outcome
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.instances import load_instances
from agent.scheduler.store.leaving import load_leaving
from agent.scheduler.store.records import GroupRecord, HostRecord
from agent.settings.scheduling import SchedulingSettings

HOSTS = ("one", "two", "trial")
DEDICATED = {"hw:cpu_policy": "dedicated"}
FLAVORS = (
    Flavor(name="floating", vcpus=2, ram_mb=256),
    Flavor(name="pinned", vcpus=3, ram_mb=256, extra_specs=DEDICATED),
    Flavor(name="isolated", vcpus=2, ram_mb=256, extra_specs={**DEDICATED, "hw:cpu_thread_policy": "isolate"}),
    Flavor(name="huge", vcpus=2, ram_mb=512, extra_specs={**DEDICATED, "hw:mem_page_size": "2MB"}),
    Flavor(name="card", vcpus=1, ram_mb=256, extra_specs={**DEDICATED, "pci_passthrough:alias": "net:1"}),
    Flavor(name="wide", vcpus=4, ram_mb=512, extra_specs={**DEDICATED, "hw:numa_nodes": "2"}),
)


CARD = Device(kind="net", name="eth0", pci="0000:01:00.0")


def expect(why: BadInput, *words: str) -> None:
    """A refusal must say one of these."""
    if not any(word in str(why) for word in words):
        raise why


class Lives(RuleBasedStateMachine):
    """Three small hosts, one of them without an agent."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cellwright-lives-")
        self.now_s = 1000.0
        self.numbers = itertools.count()
        self.scheduler = self.start()
        for name in HOSTS:
            topology = parse_synthetic(f"cell:2 core:4 thread:2 memory:2GiB pages:2M=300 name:{name}")
            topology = replace(topology, unplaced_devices=(CARD,))
            agent = name != "trial"
            record = HostRecord(name=name, topology=topology, agent=agent, last_seen_s=self.now_s)
            self.scheduler.put_host(record)
        self.scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))

    def start(self) -> Scheduler:
        return Scheduler(
            open_database(f"sqlite:///{Path(self.folder.name)}/lives.db"),
            SchedulingSettings(service_down_time_s=200.0),
            clock=lambda: self.now_s,
            new_id=lambda: f"id-{next(self.numbers):03}",
            claim_s=50.0,
        )

    @rule(target=ids, flavor=st.sampled_from(FLAVORS), apart=st.booleans())
    def create(self, flavor: Flavor, apart: bool) -> str:
        return self.scheduler.create(Request(name="vm", flavor=flavor, group="apart" if apart else None)).id

    @rule(target=ids, id=consumes(ids))
    def delete(self, id: str) -> object:
        try:
            self.scheduler.delete(id)
            return id if self.scheduler.instance(id) else multiple()
        except BadInput as why:
            expect(why, "is not known")
            return multiple()

    @rule(id=ids, outcome=st.sampled_from(list(Outcome)), right=st.booleans())
    def confirm(self, id: str, outcome: Outcome, right: bool) -> None:
        try:
            host = self.scheduler.instance(id).host
            self.scheduler.confirm((host if right else None) or "one", Confirmation(instance=id, outcome=outcome))
        except BadInput as why:
            expect(why, "is not known", "is not assigned to")

    @rule(name=st.sampled_from(HOSTS))
    def obey(self, name: str) -> None:
        """The host's agent says that everything is gone that it should not have."""
        for assignment in self.scheduler.assignments(name):
            if assignment.placement is None:
                self.scheduler.confirm(name, Confirmation(instance=assignment.instance, outcome=Outcome.GONE))

    @rule(id=ids, flavor=st.none() | st.sampled_from(FLAVORS))
    def move(self, id: str, flavor: Flavor | None) -> None:
        request = None if flavor is None else Request(name="vm", flavor=flavor)
        try:
            self.scheduler.move(id, request=request, stay=flavor is not None)
        except BadInput as why:
            expect(why, "is not known", "stays", "being deleted")

    @rule(id=ids)
    def evacuate(self, id: str) -> None:
        try:
            self.scheduler.evacuate(id)
        except BadInput as why:
            expect(why, "is not known", "stays", "being deleted", "is up")

    @rule(later_s=st.sampled_from((10.0, 60.0)))
    def expire(self, later_s: float) -> None:
        self.now_s += later_s
        self.scheduler.expire()

    @rule(name=st.sampled_from(("one", "two")), disk_gb=st.integers(10, 12))
    def report(self, name: str, disk_gb: int) -> None:
        known = self.scheduler.known_host(name)
        self.scheduler.report(HostRecord(name=name, topology=known.topology, facts=HostFacts(disk_gb=disk_gb)))

    @rule()
    def restart(self) -> None:
        self.scheduler.engine.dispose()
        self.scheduler = self.start()

    @invariant()
    def memory_is_what_the_store_has(self) -> None:
        with transaction(self.scheduler.engine) as connection:
            kept, leaving = load_instances(connection), load_leaving(connection)
            owners = {(row.host, row.pcpu): row.instance for row in connection.execute(text("SELECT * FROM pcpus"))}
            cards = [tuple(row) for row in connection.execute(text("SELECT host, pci, instance FROM devices"))]
            pools = list(connection.execute(text("SELECT * FROM pools")))
        wanted, given = {}, []
        for name in HOSTS:
            held = [instance for instance in kept if instance.host == name]
            assert self.scheduler.cloud.instances(name) == sorted(held, key=lambda instance: instance.id)
            left = [one for one in leaving if one.host == name]
            assert self.scheduler.cloud.leaving(name) == left
            usage = Usage()
            claims = [(one.id, one.placement) for one in held] + [(one.instance, one.placement) for one in left]
            for owner, placement in claims:
                assert placement is not None
                usage = claim(usage, placement)  # refuses a second owner
                wanted |= {(name, pcpu): owner for pcpu in placement.owned()}
                given += [(name, device.pci, owner) for device in placement.devices]
            assert self.scheduler.cloud.usage(name) == usage
            used = {(cell.id, page.size_kib): page.used for cell in usage.cells for page in cell.pages}
            for pool in pools:
                if pool.host == name and pool.size_kib == 2048:
                    assert pool.used == used.get((pool.cell, 2048), 0)
        assert owners == wanted
        assert sorted(cards) == sorted(given)
        for instance in kept:
            where = {one.host for one in leaving if one.instance == instance.id}
            assert set(self.scheduler.cloud.left_by(instance.id)) == where
            assert set(instance.waits_for) <= where
            assert instance.host not in where
            going = instance.status is InstanceStatus.DELETING and bool(where)
            assert (instance.host is None) <= (instance.status is InstanceStatus.ERROR or going)
            assert instance.host is None or instance.status is not InstanceStatus.ERROR
            if instance.host is not None:
                offered = {one.instance for one in self.scheduler.assignments(instance.host) if one.placement}
                assert not (instance.waits_for and instance.id in offered)
        apart = [instance.host for instance in kept if instance.group == "apart" and instance.host is not None]
        assert len(apart) == len(set(apart))

    def teardown(self) -> None:
        self.scheduler.engine.dispose()
        self.folder.cleanup()


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking lives on disk takes minutes
)
