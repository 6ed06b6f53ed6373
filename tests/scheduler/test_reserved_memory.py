"""Memory that a host keeps for itself as a whole: from its settings, through its report, to what it is given."""

import itertools
from pathlib import Path

import pytest

from agent.compute.daemon.view import Guests, report_of, view_of
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Request
from agent.core.wire import InstanceStatus
from agent.inspection.synthetic import parse_synthetic
from agent.scheduler.api.agents import take_report
from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import open_database
from agent.scheduler.views import view_host
from agent.settings.load import read_settings
from agent.settings.scheduling import SchedulingSettings

NOVA_CONF = "[DEFAULT]\nreserved_host_memory_mb = {}\nram_allocation_ratio = 1.0\n"
HOST = parse_synthetic("cell:2 core:8 thread:1 memory:4GiB name:a")
WISHED_MB = 7000


@pytest.mark.parametrize(
    ("reserved_mb", "left_mb", "status"),
    [(0, 8192, InstanceStatus.SCHEDULED), (1000, 7192, InstanceStatus.SCHEDULED), (2048, 6144, InstanceStatus.ERROR)],
)
def test_the_scheduler_gives_what_is_not_kept(
    tmp_path: Path, reserved_mb: int, left_mb: int, status: InstanceStatus
) -> None:
    conf = tmp_path / "nova.conf"
    conf.write_text(NOVA_CONF.format(reserved_mb))
    settings = read_settings(folder=None, nova_conf=str(conf)).settings
    view = view_of(HOST, HostFacts(disk_gb=100), Guests(), settings)
    numbers = itertools.count()
    scheduler = Scheduler(
        open_database(f"sqlite:///{tmp_path}/cellwright.db"),
        SchedulingSettings(),
        clock=lambda: 1000.0,
        new_id=lambda: str(next(numbers)),
    )
    take_report(scheduler, report_of(view, agent="a", whole=True))
    assert view_host(scheduler, "a").ram_mb == left_mb
    wished = Request(name="vm", flavor=Flavor(name="large", vcpus=2, ram_mb=WISHED_MB, disk_gb=1))
    assert scheduler.create(wished).status == status
    scheduler.engine.dispose()
