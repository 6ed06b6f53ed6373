"""Why no host was found: the one that came nearest says what it lacks, and what would help."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.core.codec import to_tree
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Image, Request
from agent.inspection.synthetic import parse_synthetic
from agent.picture.decision import render_decision
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import open_database
from agent.scheduler.store.records import HostRecord
from agent.settings.scheduling import SchedulingSettings

DEDICATED = {"hw:cpu_policy": "dedicated"}
THREE = Flavor(name="three", vcpus=3, ram_mb=64, extra_specs=DEDICATED)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    """Two hosts of two cells with four pCPUs: ``large`` has more memory and disk, and all pCPUs but one taken."""
    numbers = itertools.count()
    made = Scheduler(
        open_database(f"sqlite:///{tmp_path}/cellwright.db"),
        SchedulingSettings(),
        clock=lambda: 1000.0,
        new_id=lambda: f"id-{next(numbers)}",
    )
    for name, memory, disk_gb in (("small", "1GiB", 10), ("large", "4GiB", 100)):
        topology = replace(parse_synthetic(f"socket:2 core:4 thread:1 memory:{memory}"), hostname=name)
        made.put_host(HostRecord(name=name, topology=topology, facts=HostFacts(disk_gb=disk_gb), agent=False))
    for number, vcpus in enumerate((4, 3)):
        flavor = Flavor(vcpus=vcpus, ram_mb=64, extra_specs=DEDICATED)
        assert made.create(Request(name=f"big-{number}", flavor=flavor, force_host="large")).host == "large"
    yield made
    made.engine.dispose()


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        (Flavor(vcpus=1, ram_mb=9000), "large: the host has 8064 MiB of memory left of the 9000 wanted"),
        (Flavor(vcpus=1, ram_mb=64, disk_gb=101), "large: the host has 102400 MiB of disk left of the 103424 wanted"),
        (Flavor(vcpus=9, ram_mb=64), "small: the host has 8 vCPUs left of the 9 wanted"),
        (
            Flavor(vcpus=2, ram_mb=64, extra_specs={**DEDICATED, "hw:cpu_thread_policy": "require"}),
            "small: cell 0 has one thread a core, and hw:cpu_thread_policy=require wants siblings;"
            " it fits on cell 0 with hw:cpu_thread_policy=prefer",
        ),
        (
            Flavor(vcpus=1, ram_mb=64, extra_specs={"pci_passthrough:alias": "10de.1eb8:1"}),
            "small: 0 of the 1 devices 10de.1eb8 wanted are free on the host",
        ),
    ],
    ids=["memory", "disk", "vCPUs", "cells", "devices"],
)
def test_where_a_filter_left_none(scheduler: Scheduler, asked: Flavor, nearest: str) -> None:
    failed = scheduler.create(Request(name="vm", flavor=asked))
    assert failed.host is None
    assert failed.reason.endswith(f"; the nearest, {nearest}")


def test_other_wishes_are_told_by_their_filter_alone(scheduler: Scheduler) -> None:
    elsewhere = Request(name="vm", flavor=THREE, availability_zone="moon")
    arm = Request(name="vm", flavor=THREE, image=Image(properties={"hw_architecture": "aarch64"}))
    for asked in (elsewhere, arm):
        decision = scheduler.decide(asked)
        assert decision.placement is None
        assert decision.trace.misfits == ()
        assert "nearest" not in decision.trace.sentence()


def test_a_named_host_that_refuses_says_what_would_help(scheduler: Scheduler) -> None:
    decision = scheduler.decide(Request(name="vm", flavor=THREE, force_host="large"))
    assert decision.trace.misfits_count == 1
    said = "the best, large: cell 0 has 0 free dedicated pCPUs of the 3 wanted; it fits on cell 1 with pCPUs"
    assert said in decision.trace.sentence()
    assert "which guest big-1 owns [free pCPUs" in render_decision(to_tree(decision))


def test_what_would_help_follows_what_is_taken_and_given_back(scheduler: Scheduler) -> None:
    made = [scheduler.create(Request(name=f"vm-{number}", flavor=THREE)) for number in range(4)]
    assert [one.host for one in made] == ["small", "small", None, None]
    assert made[2].reason == made[3].reason
    assert "which guest vm-0 owns" in made[3].reason
    scheduler.delete(made[0].id)
    scheduler.create(Request(name="other", flavor=THREE))
    assert "which guest other owns" in scheduler.create(Request(name="vm-4", flavor=THREE)).reason


def test_the_text_of_a_decision_lists_the_nearest(scheduler: Scheduler) -> None:
    text = render_decision(to_tree(scheduler.decide(Request(name="vm", flavor=Flavor(vcpus=9, ram_mb=64)))))
    assert text.splitlines() == [
        "2 hosts",
        "  - 2 by Core (wants 9 vCPUs), 0 left",
        "nearest:",
        "  small: the host has 8 vCPUs left of the 9 wanted",
        "  large: the host has 8 vCPUs left of the 9 wanted",
        "no host",
    ]
