"""A host that comes back with other cells than its guests were placed on: another firmware setting, a board gone."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.facts import HostFacts
from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.wire import InstanceStatus
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import open_database
from agent.scheduler.store.records import HostRecord
from agent.settings.scheduling import SchedulingSettings

FOUR_CELLS = "cell:4 core:2 memory:4GiB"


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    numbers = itertools.count()
    opened = Scheduler(
        open_database(f"sqlite:///{tmp_path}/cellwright.db"),
        SchedulingSettings(),
        clock=lambda: 1000.0,
        new_id=lambda: str(next(numbers)),
    )
    yield opened
    opened.engine.dispose()


def add(scheduler: Scheduler, name: str, text: str) -> None:
    scheduler.put_host(HostRecord(name=name, topology=parse_synthetic(text), facts=HostFacts(disk_gb=100), agent=False))


def create(scheduler: Scheduler, name: str) -> tuple[str, InstanceStatus, str | None, CpuSet]:
    specs: dict[str, str | int | float | bool] = {"hw:cpu_policy": "dedicated"}
    made = scheduler.create(Request(name=name, flavor=Flavor(2, 64, name="two", extra_specs=specs)))
    pins = made.placement.owned() if isinstance(made.placement, Placement) else CpuSet()
    return made.id, made.status, made.host, pins


def test_the_host_gets_no_guests_until_its_lost_cells_are_free_and_others_do(scheduler: Scheduler) -> None:
    add(scheduler, "a", FOUR_CELLS)
    held = [create(scheduler, f"old-{number}")[0] for number in range(4)]
    add(scheduler, "a", "cell:1 core:8 memory:16GiB")
    assert create(scheduler, "nowhere")[1] == InstanceStatus.ERROR
    add(scheduler, "b", FOUR_CELLS)
    assert create(scheduler, "elsewhere")[1:3] == (InstanceStatus.SCHEDULED, "b")
    for instance in held[1:]:
        scheduler.delete(instance)
    add(scheduler, "b", "core:1")
    assert create(scheduler, "again")[1:] == (InstanceStatus.SCHEDULED, "a", CpuSet.parse("2-3"))


def test_what_guests_own_is_nobody_elses_whichever_cell_it_is_on_now(scheduler: Scheduler) -> None:
    add(scheduler, "a", "cell:2 core:2 memory:4GiB")
    for name in ("one", "two"):
        create(scheduler, name)
    add(scheduler, "a", "cell:2 core:4 memory:4GiB")
    assert create(scheduler, "three")[1:] == (InstanceStatus.SCHEDULED, "a", CpuSet.parse("4-5"))
