"""The scheduler over real databases of both kinds: decide, claim, confirm, retry, move, delete, and start again."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from agent.core.errors import BadInput, DoesNotFit, QuotaExceeded
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Image, Request
from agent.core.usage import CellUsage, Usage
from agent.core.wire import Confirmation, InstanceStatus, Outcome
from agent.scheduler.service import Scheduler
from agent.scheduler.store import catalogue
from agent.scheduler.store.database import open_database
from agent.scheduler.store.records import GroupRecord, HostRecord, InstanceRecord
from agent.settings.scheduling import SchedulingSettings
from tests.hosts import host
from tests.scheduler.conftest import Clock

PINNED = Flavor(name="pinned", vcpus=16, ram_mb=4096, extra_specs={"hw:cpu_policy": "dedicated"})
SMALL = Flavor(name="small", vcpus=1, ram_mb=64, disk_gb=1)


def start(url: str, clock: Clock) -> Scheduler:
    numbers = itertools.count()
    return Scheduler(
        open_database(url), SchedulingSettings(), clock=clock, new_id=lambda: f"{clock.now_s}-{next(numbers)}"
    )


@pytest.fixture
def scheduler(url: str, clock: Clock) -> Iterator[Scheduler]:
    made = start(url, clock)
    for number in range(1, 6):
        made.put_host(trial_host(f"osdev-0{number}"))
    yield made
    made.engine.dispose()


def trial_host(name: str, *, agent: bool = False) -> HostRecord:
    topology = replace(host("osdev-01"), hostname=name)
    return HostRecord(name=name, topology=topology, facts=HostFacts(disk_gb=100), agent=agent, last_seen_s=1000.0)


def ask(name: str, flavor: Flavor = SMALL, **wishes: Any) -> Request:
    return Request(name=name, flavor=flavor, **wishes)


def test_anti_affinity_of_eight_on_five_hosts(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    made = [scheduler.create(ask(f"vm-{n}", hints={"group": "apart"})) for n in range(8)]
    placed = [instance for instance in made if instance.status is InstanceStatus.SCHEDULED]
    assert len(placed) == 5
    assert len({instance.host for instance in placed}) == 5
    failed = [instance for instance in made if instance.status is InstanceStatus.ERROR]
    assert len(failed) == 3
    assert "ServerGroupAntiAffinity removed 5 of 5" in failed[0].reason


def test_affinity_of_three_lands_on_one_host(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("together", "affinity")))
    assert len({scheduler.create(ask(f"vm-{n}", hints={"group": "together"})).host for n in range(3)}) == 1


def test_no_pcpu_is_given_twice_until_the_hosts_are_full(scheduler: Scheduler) -> None:
    owners: set[tuple[str, int]] = set()
    made: list[InstanceRecord] = []
    while (instance := scheduler.create(ask(f"db-{len(made)}", PINNED))).placement is not None:
        mine = {(instance.placement.host, pcpu) for pcpu in instance.placement.owned()}
        assert not mine & owners
        owners |= mine
        made.append(instance)
    assert len(made) == 5 * 4
    assert "NUMATopology" in instance.reason


def test_a_new_process_knows_what_the_old_one_claimed(scheduler: Scheduler, url: str, clock: Clock) -> None:
    placed = scheduler.create(ask("db", PINNED))
    again = start(url, clock)
    assert placed.host is not None
    assert again.cloud.usage(placed.host) == scheduler.cloud.usage(placed.host)
    again.engine.dispose()


def test_delete_gives_everything_back(scheduler: Scheduler) -> None:
    before = scheduler.cloud.usage("osdev-01")
    request = ask("db", PINNED, force_host="osdev-01")
    placed = scheduler.create(request)
    assert scheduler.cloud.usage("osdev-01") != before
    scheduler.delete(placed.id)
    assert not any(cell.pinned or cell.memory_kib for cell in scheduler.cloud.usage("osdev-01").cells)
    assert scheduler.create(request).placement == placed.placement


def test_a_refusal_goes_elsewhere_and_three_refusals_are_an_error(scheduler: Scheduler, clock: Clock) -> None:
    for number in range(1, 6):
        scheduler.put_host(trial_host(f"osdev-0{number}", agent=True))
    instance = scheduler.create(ask("db", PINNED))
    seen = []
    while instance.host is not None:
        seen.append(instance.host)
        refusal = Confirmation(instance=instance.id, outcome=Outcome.REFUSED, reason="no such pages any more")
        scheduler.confirm(instance.host, refusal)
        instance = scheduler.instance(instance.id)
    assert len(seen) == len(set(seen)) == 3
    assert instance.status is InstanceStatus.ERROR
    assert "no such pages any more" in instance.reason


def test_verified_is_active_and_never_expires(scheduler: Scheduler, clock: Clock) -> None:
    scheduler.put_host(trial_host("osdev-01", agent=True))
    kept = scheduler.create(ask("kept", PINNED, force_host="osdev-01"))
    lost = scheduler.create(ask("lost", PINNED, force_host="osdev-01"))
    scheduler.confirm("osdev-01", Confirmation(instance=kept.id, outcome=Outcome.VERIFIED))
    clock.now_s += 1000
    assert scheduler.expire() == [lost.id]
    assert scheduler.instance(kept.id).status is InstanceStatus.ACTIVE


def test_resize_on_its_own_host_does_not_count_itself_twice(scheduler: Scheduler) -> None:
    first = scheduler.create(ask("big", Flavor(vcpus=36, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"})))
    second = scheduler.create(
        ask("other", Flavor(vcpus=36, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"}), force_host=first.host)
    )
    assert second.host == first.host
    smaller = ask("big", Flavor(vcpus=34, ram_mb=64, extra_specs={"hw:cpu_policy": "dedicated"}), force_host=first.host)
    resized = scheduler.move(first.id, request=smaller, stay=True)
    assert resized.host == first.host
    assert resized.placement is not None
    assert first.placement is not None
    assert resized.placement.owned() <= first.placement.owned()


def test_migrate_leaves_the_host(scheduler: Scheduler) -> None:
    placed = scheduler.create(ask("db", PINNED))
    assert scheduler.move(placed.id).host != placed.host
    assert placed.host is not None
    assert not scheduler.cloud.instances(placed.host)


def test_evacuating_is_for_hosts_that_are_down(scheduler: Scheduler, clock: Clock) -> None:
    trial = scheduler.create(ask("trial", PINNED, force_host="osdev-02"))
    scheduler.put_host(trial_host("osdev-01", agent=True))
    placed = scheduler.create(ask("db", PINNED, force_host="osdev-01"))
    with pytest.raises(BadInput, match="osdev-01 is up; migrate it"):
        scheduler.evacuate(placed.id)
    clock.now_s += 100
    free = replace(placed.request, force_host=None)
    assert scheduler.evacuate(placed.id, request=free).host not in (None, "osdev-01")
    assert not scheduler.cloud.instances("osdev-01")
    assert scheduler.evacuate(trial.id, request=replace(trial.request, force_host=None)).host != "osdev-02"


def test_a_host_that_is_named_for_a_move_must_pass_the_filters_and_a_forced_one_need_not(scheduler: Scheduler) -> None:
    scheduler.enable_host("osdev-02", enabled=False)
    forced = scheduler.create(ask("forced", force_host="osdev-02"))
    assert forced.host == "osdev-02"
    free = replace(forced.request, force_host=None)
    moved = scheduler.move(forced.id, request=free, host="osdev-03")
    assert (moved.host, moved.request.force_host) == ("osdev-03", None)
    with pytest.raises(DoesNotFit, match=r"stays on osdev-03: no host of 5: .*NamedHost removed 3 of 4 .*; Compute"):
        scheduler.move(forced.id, host="osdev-02")
    with pytest.raises(BadInput, match="is on host osdev-03 already"):
        scheduler.move(forced.id, host="osdev-03")
    with pytest.raises(BadInput, match="host nobody is not known"):
        scheduler.move(forced.id, host="nobody")
    assert scheduler.move(forced.id, host="osdev-03", stay=True).host == "osdev-03"
    nowhere = scheduler.create(ask("nowhere", force_host="nobody"))
    assert nowhere.reason == "no host of 5: NamedHost removed 5 of 5 (wants host nobody, which is not known)"


def test_a_forced_host_that_refuses_is_not_asked_again(scheduler: Scheduler) -> None:
    scheduler.put_host(trial_host("osdev-01", agent=True))
    placed = scheduler.create(ask("db", PINNED, force_host="osdev-01"))
    scheduler.confirm("osdev-01", Confirmation(instance=placed.id, outcome=Outcome.REFUSED, reason="no such pages"))
    refused = scheduler.instance(placed.id)
    assert (refused.status, refused.host) == (InstanceStatus.ERROR, None)
    assert refused.reason == "osdev-01: no such pages"


def test_guests_under_way_are_operations_of_a_host_that_has_an_agent(scheduler: Scheduler) -> None:
    for name in ("osdev-01", "osdev-02"):
        scheduler.put_host(trial_host(name, agent=True))

    def under_way() -> list[float]:
        return [float(scheduler.cloud.table.io_ops[scheduler.cloud.table.row_of[f"osdev-0{n}"]]) for n in (1, 2, 3)]

    first, second = (scheduler.create(ask(f"vm-{n}", force_host="osdev-01")) for n in range(2))
    scheduler.create(ask("trial", force_host="osdev-03"))
    assert under_way() == [2, 0, 0], "nobody builds on a host without an agent"
    for one in (first, second):
        scheduler.confirm("osdev-01", Confirmation(instance=one.id, outcome=Outcome.VERIFIED))
    assert under_way() == [0, 0, 0]
    scheduler.move(first.id, request=replace(first.request, force_host=None), host="osdev-02")
    assert under_way() == [1, 1, 0], "it leaves the one and comes to the other"
    scheduler.delete(second.id)
    assert under_way() == [2, 1, 0]


def test_several_of_which_one_is_refused_leave_nothing_behind(scheduler: Scheduler) -> None:
    with pytest.raises(BadInput, match="no name for a guest"):
        scheduler.create_many(ask(""), ["one", "two", "a/b"], project="", least=1)
    assert not any(scheduler.cloud.instances(host.name) for host in scheduler.cloud.hosts())


def test_others_have_their_turn_between_several(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports and operators: here the first of several is deleted before the next ones are made."""
    others = ThreadPoolExecutor(1)

    def delete_the_first(seconds: float) -> None:
        for old in scheduler.cloud.instances("osdev-01"):
            if old.name == "vm-1":
                others.submit(scheduler.delete, old.id).result(timeout=60)

    monkeypatch.setattr("agent.scheduler.service.time.sleep", delete_the_first)
    asked, names = ask("", replace(PINNED, vcpus=32), force_host="osdev-01"), [f"vm-{number}" for number in range(1, 5)]
    made = scheduler.create_many(asked, names, project="", least=4)
    assert [one.name for one in made] == names[1:], "two fit at the same time"
    assert {one.status for one in made} == {InstanceStatus.ERROR}
    assert "only 3 of at least 4 that were wanted fit" in made[0].reason
    with pytest.raises(BadInput, match="no name for a guest"):
        scheduler.create_many(asked, [*names, "a/b"], project="", least=1)
    assert scheduler.cloud.instances("osdev-01") == []
    others.shutdown()


def test_what_failed_counts_for_nobody_until_it_is_placed_after_all(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "small", {"cores": 2}))
    failed = scheduler.create(ask("failed", availability_zone="moon"), project="small")
    assert failed.status is InstanceStatus.ERROR
    for name in ("first", "second"):
        assert scheduler.create(ask(name), project="small").host is not None
    with pytest.raises(QuotaExceeded, match="cores quota is 2, 2 in use, 1 more wanted"):
        scheduler.move(failed.id, request=ask("failed"))
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "small", {"cores": 3}))
    assert scheduler.move(failed.id, request=ask("failed")).host is not None
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "small", {"cores": 1}))
    assert scheduler.move(failed.id).host is not None, "what is placed may move, whatever the quota says now"


def test_affinity_binds_to_the_others_of_the_group_alone(scheduler: Scheduler) -> None:
    for number in range(1, 6):
        scheduler.put_host(trial_host(f"osdev-0{number}", agent=True))
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("together", "affinity")))
    first = scheduler.create(ask("first", group="together"))
    assert first.host is not None
    scheduler.confirm(first.host, Confirmation(instance=first.id, outcome=Outcome.REFUSED, reason="full"))
    again = scheduler.instance(first.id)
    assert again.host not in (None, first.host), "nobody holds it there"
    second = scheduler.create(ask("second", group="together"))
    assert second.host == again.host
    with pytest.raises(DoesNotFit, match="ServerGroupAffinity removed"):
        scheduler.move(second.id)


def test_a_group_with_affinity_is_evacuated_together(scheduler: Scheduler, clock: Clock) -> None:
    scheduler.put_host(trial_host("osdev-01", agent=True))
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("together", "affinity")))
    for number in range(2, 6):
        scheduler.enable_host(f"osdev-0{number}", enabled=False)
    members = [scheduler.create(ask(f"vm-{n}", group="together")) for n in range(3)]
    assert {one.host for one in members} == {"osdev-01"}
    for number in range(2, 6):
        scheduler.enable_host(f"osdev-0{number}", enabled=True)
    clock.now_s += 100
    moved = {scheduler.evacuate(one.id).host for one in members}
    assert len(moved) == 1
    assert moved != {"osdev-01"}


def test_resizing_minds_the_quota_and_counts_the_instance_once(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "demo", {"cores": 4}))
    placed = scheduler.create(ask("vm", replace(SMALL, vcpus=3)), project="demo")
    assert scheduler.move(placed.id, request=ask("vm", replace(SMALL, vcpus=4)), stay=True).host is not None
    with pytest.raises(QuotaExceeded, match="cores quota is 4, 0 in use, 5 more wanted"):
        scheduler.move(placed.id, request=ask("vm", replace(SMALL, vcpus=5)), stay=True)
    assert scheduler.instance(placed.id).request.flavor.vcpus == 4


def test_a_move_that_fits_nowhere_changes_nothing(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.create_group(c, GroupRecord("apart", "anti-affinity")))
    made = [scheduler.create(ask(f"vm-{n}", PINNED, group="apart")) for n in range(5)]
    with pytest.raises(BadInput, match=r"stays on .*ServerGroupAntiAffinity removed 4 of 4"):
        scheduler.move(made[0].id)
    assert scheduler.instance(made[0].id) == made[0]


def test_a_claim_given_up_gets_its_own_time_on_the_next_host(scheduler: Scheduler, clock: Clock) -> None:
    for number in range(1, 6):
        scheduler.put_host(trial_host(f"osdev-0{number}", agent=True))
    first = scheduler.create(ask("db", PINNED))
    clock.now_s += 301
    for number in range(1, 6):
        scheduler.seen(f"osdev-0{number}")
    assert scheduler.expire() == [first.id]
    second = scheduler.instance(first.id)
    assert second.host not in (None, first.host)
    assert second.expires_s == clock.now_s + 300
    assert scheduler.expire() == []


def test_a_guest_that_took_a_claimed_pcpu_does_not_stop_the_scheduler(
    scheduler: Scheduler, url: str, clock: Clock
) -> None:
    placed = scheduler.create(ask("db", PINNED, force_host="osdev-01"))
    assert placed.placement is not None
    taken = Usage(cells=(CellUsage(placed.placement.cells[0].host_cell, pinned=placed.placement.owned()),))
    scheduler.put_host(replace(trial_host("osdev-01"), foreign=taken))
    again = start(url, clock)
    assert sum(len(cell.pinned) for cell in again.cloud.usage("osdev-01").cells) == 16
    again.delete(placed.id)
    again.engine.dispose()


def test_rebuild_keeps_the_place_and_minds_the_image(scheduler: Scheduler) -> None:
    placed = scheduler.create(ask("db", PINNED))
    assert scheduler.rebuild(placed.id, ask("db", PINNED, image=Image(name="new"))).placement == placed.placement
    wrong = ask("db", PINNED, image=Image(properties={"hw_architecture": "aarch64"}))
    with pytest.raises(BadInput, match="ImageProperties"):
        scheduler.rebuild(placed.id, wrong)


def test_quota_holds(scheduler: Scheduler) -> None:
    scheduler.change_catalogue(lambda c: catalogue.set_quotas(c, "demo", {"cores": 2}))
    scheduler.create(ask("one"), project="demo")
    scheduler.create(ask("two"), project="demo")
    with pytest.raises(QuotaExceeded, match="cores quota is 2, 2 in use, 1 more wanted"):
        scheduler.create(ask("three"), project="demo")


def test_a_host_with_instances_is_not_forgotten(scheduler: Scheduler) -> None:
    placed = scheduler.create(ask("vm"))
    assert placed.host is not None
    with pytest.raises(BadInput, match="still has 1 instances"):
        scheduler.remove_host(placed.host)
