"""A moved instance: what it holds where it was until the agent there says that it is gone, and where it begins then."""

import itertools
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from agent.core.errors import BadInput
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.usage import Usage
from agent.core.wire import Confirmation, InstanceStatus, Outcome
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store.database import open_database, transaction
from agent.scheduler.store.instances import claim, load_instances
from agent.scheduler.store.records import ClaimLost, GroupRecord, HostRecord, InstanceRecord
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.conftest import Clock

DEDICATED = {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2MB"}
HALF = Flavor(name="half", vcpus=4, ram_mb=512, disk_gb=10, extra_specs=DEDICATED)
WHOLE = replace(HALF, name="whole", vcpus=8)
HOSTS = ("a", "b", "c")
NOW_S = 1000.0


@pytest.fixture
def scheduler(url: str, clock: Clock) -> Iterator[Scheduler]:
    """Three hosts with agents, each of one cell with 8 pCPUs and 1 GiB in huge pages."""
    made = start(url, clock)
    for name in HOSTS:
        topology = parse_synthetic(f"cell:1 core:8 thread:1 memory:4GiB pages:2M=512 name:{name}")
        facts = HostFacts(disk_gb=100)
        made.put_host(HostRecord(name=name, topology=topology, facts=facts, last_seen_s=NOW_S))
    yield made
    made.engine.dispose()


def start(url: str, clock: Clock) -> Scheduler:
    numbers = itertools.count()
    return Scheduler(
        open_database(url), SchedulingSettings(), clock=clock, new_id=lambda: f"{clock.now_s}-{next(numbers)}"
    )


def running(scheduler: Scheduler, host: str, flavor: Flavor = HALF, **wishes: str) -> InstanceRecord:
    """An instance that runs on a host."""
    made = scheduler.create(Request(name="vm", flavor=flavor, force_host=host, **wishes))  # type: ignore[arg-type]
    assert made.host == host
    say(scheduler, host, made.id, Outcome.BUILDING)
    say(scheduler, host, made.id, Outcome.VERIFIED)
    return scheduler.instance(made.id)


def move(scheduler: Scheduler, instance: InstanceRecord, host: str) -> InstanceRecord:
    moved = scheduler.move(instance.id, request=replace(instance.request, force_host=host))
    assert moved.host == host
    return moved


def say(scheduler: Scheduler, host: str, instance: str, outcome: Outcome) -> None:
    scheduler.confirm(host, Confirmation(instance=instance, outcome=outcome))


def told(scheduler: Scheduler, host: str) -> dict[str, bool]:
    """Instance → whether its host is told to have it, or no longer to have it."""
    return {one.instance: one.placement is not None for one in scheduler.assignments(host)}


def used(scheduler: Scheduler, host: str) -> tuple[int, float, float, float]:
    """What a host's guests hold: pCPUs owned, MiB, vCPUs, GiB of disk."""
    row, table = scheduler.cloud.table.row_of[host], scheduler.cloud.table
    pinned = sum(len(cell.pinned) for cell in scheduler.cloud.usage(host).cells)
    ram_mb = table.ram_mb[row] - table.free_ram_mb[row]
    return (
        pinned,
        float(ram_mb),
        float(table.vcpus_used[row]),
        float(table.disk_gb[row] - table.free_disk_mb[row] / 1024),
    )


NOTHING = (0, 0.0, 0.0, 0.0)
ONE_HALF = (4, 512.0, 4.0, 10.0)


def test_a_migrated_instance_holds_both_places_until_it_is_gone_from_the_old(
    scheduler: Scheduler, url: str, clock: Clock
) -> None:
    placed = running(scheduler, "a")
    moved = move(scheduler, placed, "b")
    assert used(scheduler, "a") == used(scheduler, "b") == ONE_HALF
    assert moved.expires_s is None
    assert (told(scheduler, "a"), told(scheduler, "b")) == ({placed.id: False}, {})
    with pytest.raises(BadInput, match="is not assigned to host b"):
        say(scheduler, "b", placed.id, Outcome.BUILDING)
    again = start(url, clock)
    assert used(again, "a") == used(again, "b") == ONE_HALF
    assert (told(again, "a"), told(again, "b")) == ({placed.id: False}, {})
    again.engine.dispose()
    clock.now_s += 30
    say(scheduler, "a", placed.id, Outcome.GONE)
    assert (used(scheduler, "a"), used(scheduler, "b")) == (NOTHING, ONE_HALF)
    assert (told(scheduler, "a"), told(scheduler, "b")) == ({}, {placed.id: True})
    assert scheduler.instance(placed.id).expires_s == clock.now_s + scheduler.claim_s
    say(scheduler, "b", placed.id, Outcome.BUILDING)
    say(scheduler, "b", placed.id, Outcome.VERIFIED)
    say(scheduler, "a", placed.id, Outcome.GONE)  # once more changes nothing
    assert scheduler.instance(placed.id).status is InstanceStatus.ACTIVE


def test_nobody_gets_what_a_leaving_instance_still_holds(scheduler: Scheduler) -> None:
    placed = running(scheduler, "a", WHOLE)
    move(scheduler, placed, "b")
    refused = scheduler.create(Request(name="next", flavor=HALF, force_host="a"))
    assert refused.status is InstanceStatus.ERROR
    assert placed.placement is not None
    other = running(scheduler, "c")
    generation = scheduler.known_host("a").generation
    with pytest.raises(ClaimLost), transaction(scheduler.engine) as connection:
        claim(connection, other.id, placed.placement, generation=generation)
    say(scheduler, "a", placed.id, Outcome.GONE)
    assert scheduler.create(Request(name="next", flavor=HALF, force_host="a")).host == "a"


def test_quota_and_group_count_a_moving_instance_once(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "", {"cores": 8}))
    first = running(scheduler, "a", group="apart")
    move(scheduler, first, "b")
    second = scheduler.create(Request(name="second", flavor=HALF, group="apart"))
    assert second.host in ("a", "c")
    assert scheduler.cloud.group("apart").hosts == {"b", second.host}  # type: ignore[union-attr]


@pytest.mark.parametrize("first", ["a", "b"])
def test_an_instance_deleted_while_it_moves_lasts_until_both_hosts_are_rid_of_it(
    scheduler: Scheduler, first: str
) -> None:
    placed = running(scheduler, "a")
    move(scheduler, placed, "b")
    scheduler.delete(placed.id)
    assert (told(scheduler, "a"), told(scheduler, "b")) == ({placed.id: False}, {placed.id: False})
    say(scheduler, first, placed.id, Outcome.GONE)
    assert scheduler.instance(placed.id).status is InstanceStatus.DELETING
    last = "b" if first == "a" else "a"
    assert (used(scheduler, first), used(scheduler, last)) == (NOTHING, ONE_HALF)
    scheduler.delete(placed.id)  # twice is once
    say(scheduler, last, placed.id, Outcome.GONE)
    with pytest.raises(BadInput, match="is not known"):
        scheduler.instance(placed.id)
    assert used(scheduler, last) == NOTHING
    with transaction(scheduler.engine) as connection:
        assert load_instances(connection) == []


def test_a_second_move_waits_for_the_first_host_and_gives_up_the_second_at_once(scheduler: Scheduler) -> None:
    placed = running(scheduler, "a")
    move(scheduler, placed, "b")
    with pytest.raises(BadInput, match="is still leaving host a"):
        move(scheduler, placed, "a")
    moved = move(scheduler, placed, "c")
    assert moved.waits_for == ("a",)
    assert [used(scheduler, name) for name in HOSTS] == [ONE_HALF, NOTHING, ONE_HALF]
    assert [told(scheduler, name) for name in HOSTS] == [{placed.id: False}, {}, {}]
    say(scheduler, "a", placed.id, Outcome.GONE)
    assert move(scheduler, placed, "a").waits_for == ()  # nobody had begun on c
    assert [told(scheduler, name) for name in HOSTS] == [{placed.id: True}, {}, {}]


def test_evacuating_does_not_wait_and_keeps_the_lost_hosts_claims(scheduler: Scheduler, clock: Clock) -> None:
    placed = running(scheduler, "a")
    clock.now_s += 100
    scheduler.seen("b")
    scheduler.seen("c")
    free = replace(placed.request, force_host=None)
    moved = scheduler.evacuate(placed.id, request=free)
    assert moved.host in ("b", "c")
    assert told(scheduler, str(moved.host)) == {placed.id: True}
    assert used(scheduler, "a") == ONE_HALF
    scheduler.seen("a")  # it comes back, and its agent still runs the guest
    assert told(scheduler, "a") == {placed.id: False}
    say(scheduler, "a", placed.id, Outcome.GONE)
    assert used(scheduler, "a") == NOTHING
    assert told(scheduler, str(moved.host)) == {placed.id: True}


def test_an_instance_that_waits_for_a_host_that_was_lost_meanwhile(scheduler: Scheduler, clock: Clock) -> None:
    placed = running(scheduler, "a")
    move(scheduler, placed, "b")
    with pytest.raises(BadInput, match="b is up; migrate it"):
        scheduler.evacuate(placed.id)
    clock.now_s += 100
    scheduler.seen("b")
    begun = scheduler.evacuate(placed.id)
    assert (begun.host, begun.expires_s) == ("b", clock.now_s + scheduler.claim_s)
    assert told(scheduler, "b") == {placed.id: True}
    assert used(scheduler, "a") == ONE_HALF


def test_deleting_a_lost_host_is_the_operators_word_that_all_is_gone(scheduler: Scheduler, clock: Clock) -> None:
    moving, deleted = running(scheduler, "a"), running(scheduler, "a")
    move(scheduler, moving, "b")
    move(scheduler, deleted, "b")
    scheduler.delete(deleted.id)
    say(scheduler, "b", deleted.id, Outcome.GONE)
    with pytest.raises(BadInput, match="host a is up and still stops 2 instances"):
        scheduler.remove_host("a")
    clock.now_s += 100
    scheduler.remove_host("a")
    assert told(scheduler, "b") == {moving.id: True}
    with transaction(scheduler.engine) as connection:
        assert [instance.id for instance in load_instances(connection)] == [moving.id]


def test_what_failed_while_it_was_built_must_be_gone_before_it_begins_elsewhere(scheduler: Scheduler) -> None:
    made = scheduler.create(Request(name="vm", flavor=HALF))
    first = str(made.host)
    say(scheduler, first, made.id, Outcome.BUILDING)
    say(scheduler, first, made.id, Outcome.FAILED)
    second = scheduler.instance(made.id)
    assert (second.waits_for, second.status) == ((first,), InstanceStatus.SCHEDULED)
    assert told(scheduler, first) == {made.id: False}
    assert told(scheduler, str(second.host)) == {}
    say(scheduler, first, made.id, Outcome.GONE)
    assert told(scheduler, str(second.host)) == {made.id: True}
    say(scheduler, str(second.host), made.id, Outcome.REFUSED)  # nothing was begun there
    third = scheduler.instance(made.id)
    assert told(scheduler, str(third.host)) == {made.id: True}
    assert used(scheduler, str(second.host)) == NOTHING


def test_a_lost_guest_is_an_error_that_still_holds_its_place_until_it_is_gone(scheduler: Scheduler) -> None:
    placed = running(scheduler, "a")
    say(scheduler, "a", placed.id, Outcome.FAILED)
    assert scheduler.instance(placed.id).status is InstanceStatus.ERROR
    assert (used(scheduler, "a"), told(scheduler, "a")) == (ONE_HALF, {placed.id: False})
    scheduler.delete(placed.id)
    assert scheduler.instance(placed.id).status is InstanceStatus.DELETING
    say(scheduler, "a", placed.id, Outcome.GONE)
    assert used(scheduler, "a") == NOTHING
    with pytest.raises(BadInput, match="is not known"):
        scheduler.instance(placed.id)


def test_a_resize_that_fits_only_in_its_own_place_is_counted_once(scheduler: Scheduler) -> None:
    placed, _, _ = running(scheduler, "a"), running(scheduler, "b", WHOLE), running(scheduler, "c", WHOLE)
    bigger = replace(placed.request, flavor=replace(WHOLE, ram_mb=1024), force_host=None)
    resized = scheduler.move(placed.id, request=bigger, stay=True)
    assert (resized.host, resized.status) == ("a", InstanceStatus.BUILDING)
    assert used(scheduler, "a") == (8, 1024.0, 8.0, 10.0)
    assignment = scheduler.assignments("a")[0]
    assert assignment.unconfirmed
    assert assignment.placement == resized.placement
    say(scheduler, "a", placed.id, Outcome.REFUSED)  # its agent has not begun, and still runs it as it was
    failed = scheduler.instance(placed.id)
    assert (failed.status, failed.waits_for) == (InstanceStatus.ERROR, ("a",))
    assert told(scheduler, "a") == {placed.id: False}


def test_the_other_scheduler_waits_too(postgresql_url: str, clock: Clock) -> None:
    here, there = start(postgresql_url, clock), start(postgresql_url, clock)
    for name in HOSTS:
        topology = parse_synthetic(f"cell:1 core:8 thread:1 memory:4GiB pages:2M=512 name:{name}")
        here.put_host(HostRecord(name=name, topology=topology, facts=HostFacts(disk_gb=100), last_seen_s=NOW_S))
    placed = running(here, "a")
    there.catch_up()
    move(here, placed, "b")
    there.refresh(["b"])  # the news of the new host may come first
    assert told(there, "b") == {}
    say(there, "a", placed.id, Outcome.GONE)
    assert told(there, "b") == {placed.id: True}
    here.catch_up()
    assert here.cloud.usage("a") == Usage()
    assert told(here, "b") == {placed.id: True}
    for one in (here, there):
        one.engine.dispose()
