"""A host full of guests, whose agent is killed, or that restarts: all are known, left alone, or started again.

``--guests 200`` is a full host; it takes minutes, and 27 MiB a guest.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import msgspec
import pytest

from agent.compute.daemon.state import AgentState, Known, write_agent_state
from agent.compute.domains import State
from agent.compute.driver import Driver
from agent.compute.prove import verify_host
from agent.core.cpuset import CpuSet
from agent.core.placement import CpuTopology, Placement
from agent.domain.ownership import mark_instance
from agent.domain.render import render_domain
from tests.compute.daemon.running import HOST, LIMIT_S, wait_for
from tests.compute.daemon.test_agent import Agents
from tests.compute.guests import name_of, threads_of
from tests.compute.placements import FIRST, SECOND
from tests.lab.payload import HALT

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
    """libvirt waits a second or two for each."""
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(remove_some, [names[number::10] for number in range(10)]))


def remove_some(names: list[str]) -> None:
    with Driver() as libvirt:
        for one in [one for one in libvirt.domains(active_only=False) if one.name in names]:
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
        remove(names)


def read_masks(pid: int) -> dict[str, str]:
    """Thread → the pCPUs that the kernel lets it run on."""
    return {str(thread.tid): str(thread.allowed) for thread in threads_of(pid)}


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
    wait_for("all are proven", all_proven)
    agent.stop(kill=True)
    metrics.unlink()
    agent.start()
    wait_for("all are proven again", all_proven)
    wait_for("the scheduler counts them", lambda: agent.host()["vcpus_used"] >= len(many))
    assert look(libvirt, many) == before
    assert [line for line in agent.log().splitlines() if "many-" in line] == []


@pytest.fixture
def switched_off(libvirt: Driver, request: pytest.FixtureRequest) -> Iterator[tuple[Known, ...]]:
    """Guests of the scheduler as a host that went down left them: defined, and remembered.  Their firmware halts."""
    known = []
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        firmware = Path(folder, "halt.bin")
        firmware.write_bytes(HALT)
        loader = f"<loader readonly='yes' type='rom'>{firmware}</loader>"
        try:
            for number in range(request.config.getoption("--guests")):
                placement = msgspec.structs.replace(FLOATING, name=name_of(f"off-{number}"))
                one = Known(
                    instance=str(uuid4()),
                    name=placement.name,
                    domain=placement.name,
                    placement=placement,
                    verified=True,
                    boot_id="before",
                )
                xml = mark_instance(render_domain(placement, template="tiny", virt_type="qemu"), one.instance)
                libvirt.define(xml.replace("hvm</type>", f"hvm</type>{loader}"), name=placement.name)
                known.append(one)
            yield tuple(known)
        finally:
            remove([one.domain for one in known])


def test_a_host_that_restarts_has_all_its_guests_again(
    agents: Agents, libvirt: Driver, switched_off: tuple[Known, ...]
) -> None:
    """The scheduler is away, and the agent knows nothing but its state file and the domains."""
    agent = agents()
    write_agent_state(agent.folder / "state/agent.json", AgentState(agent="tests", known=switched_off))
    agent.config.write_text(agent.config.read_text().replace(agent.service.url, "http://127.0.0.1:9"))
    names = {one.domain for one in switched_off}

    def running() -> bool:
        return names <= {one.name for one in libvirt.domains() if one.state is State.RUNNING}

    agent.start()
    wait_for("all run", running, limit_s=LIMIT_S + 10 * len(names))
    assert verify_host(libvirt, names=names).ok
    agent.stop()
    assert running()
    assert not [line for line in agent.log().splitlines() if "off-" in line and "started domain" not in line]
