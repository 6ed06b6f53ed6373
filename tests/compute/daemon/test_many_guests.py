"""An agent that is killed on a host full of guests: the next one knows them all, and touches none.

``--guests 200`` is a full host; it takes minutes, and 27 MiB a guest.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from agent.compute.driver import Driver
from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, Placement
from agent.domain.render import render_domain
from tests.compute.daemon.running import HOST, wait_for
from tests.compute.daemon.test_agent import Agents
from tests.compute.guests import name_of
from tests.compute.placements import FIRST, SECOND

FLOATING = Placement(
    host=HOST,
    name="",
    vcpus=1,
    memory_kib=16384,
    emulator=CpuSet([FIRST, SECOND]),
    cpu_topology=CpuTopology(1, 1, 1),
)


def start(names: list[str]) -> None:
    """Placed guests that float over two pCPUs, paused."""
    with Driver() as libvirt:
        for name in names:
            placement = msgspec.structs.replace(FLOATING, name=name)
            libvirt.define(render_domain(placement, template="tiny", virt_type="qemu"), name=name)
            libvirt.start(name, paused=True)


def remove(names: list[str]) -> None:
    with Driver() as libvirt:
        for one in libvirt.domains(active_only=False):
            if one.name in names:
                if one.active:
                    libvirt.destroy(one.name)
                libvirt.undefine(one.name)


@pytest.fixture
def many(libvirt: Driver, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    names = [name_of(f"many-{number}") for number in range(request.config.getoption("--guests"))]
    parts = [names[::2], names[1::2]]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(start, parts))
        yield names
    finally:
        with ThreadPoolExecutor() as threads:
            list(threads.map(remove, parts))


def read_masks(pid: int) -> dict[str, str]:
    """Thread → the pCPUs that the kernel lets it run on."""
    threads = {task.name: task / "status" for task in Path(f"/proc/{pid}/task").iterdir()}
    return {tid: status.read_text().split("Cpus_allowed_list:\t")[1].split()[0] for tid, status in threads.items()}


def look(libvirt: Driver, names: list[str]) -> dict[str, tuple[object, ...]]:
    """All that an agent could have changed."""
    found = {one.name: one for one in libvirt.domains() if one.name in names}
    return {
        name: (one.pid, one.state, libvirt.xml(name), libvirt.xml(name, config=True), read_masks(one.pid or 0))
        for name, one in found.items()
    }


def test_a_killed_agent_is_followed_by_one_that_changes_nothing(
    agents: Agents, libvirt: Driver, many: list[str], tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics.prom"
    proven = {f'cellwright_guest_findings{{guest="{name}"}} 0' for name in many}

    def all_proven() -> bool:
        return metrics.exists() and proven <= set(metrics.read_text().splitlines())

    agent = agents(more=f'repair = true\ntextfile = "{metrics}"')
    before = look(libvirt, many)
    assert len(before) == len(many)
    agent.start()
    wait_for("all are proven", all_proven, limit_s=60)
    agent.stop(kill=True)
    metrics.unlink()
    agent.start()
    wait_for("all are proven again", all_proven, limit_s=60)
    assert agent.host()["vcpus_used"] >= len(many)
    assert look(libvirt, many) == before
    assert [line for line in agent.log().splitlines() if "many-" in line] == []
