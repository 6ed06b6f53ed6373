"""Every template, started for real under TCG, and proven to run as its placement says."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from lxml import etree

from agent.compute.domains import Refused
from agent.compute.driver import Driver
from agent.compute.prove import verify_host
from agent.core.cpuset import CpuSet
from agent.core.observation import Role
from agent.core.placement import Placement, Schedule, Schedules
from agent.core.verdict import GuestVerdict
from agent.domain.render import render_domain
from agent.domain.templates import TEMPLATES
from tests.compute.placements import FIRST, SECOND, dedicated

MISSING_HERE = {
    "(CAP_SYS_RESOURCE), as in a container": ("memoryBacking/locked",),
    "Failed to bind socket": ("devices/interface",),  # no vhost-user switch is installed
    "no real-time budget": ("cputune/vcpusched", "cputune/iothreadsched", "cputune/emulatorsched"),
}
"""What the error says where a test machine lacks something, and the elements without which the guest starts."""


def placement_for(template: str, name: str) -> Placement:
    """Two vCPUs on two pCPUs and an I/O thread; in real time the second vCPU and QEMU's threads have priorities."""
    placement = dedicated(name, FIRST, SECOND, iothreads={1: CpuSet([FIRST])})
    if template != "realtime":
        return placement
    fifo = [Schedule("fifo", priority) for priority in (2, 3, 4)]
    return msgspec.structs.replace(
        placement, realtime=CpuSet([1]), schedules=Schedules({1: fifo[0]}, {1: fifo[1]}, fifo[2])
    )


def start(libvirt: Driver, template: str, placement: Placement) -> None:
    """Define and start the guest, paused, without what this machine lacks."""
    root = etree.fromstring(render_domain(placement, template=template, virt_type="qemu"))
    root.insert(1, etree.fromstring(f"<uuid>{uuid4()}</uuid>"))
    while True:
        libvirt.define(etree.tostring(root, encoding="unicode"), name=placement.name)
        try:
            libvirt.start(placement.name, paused=True)
        except Refused as why:
            missing = next(paths for said, paths in MISSING_HERE.items() if said in str(why))
            for node in [root.find(path) for path in missing]:
                node.getparent().remove(node)  # type: ignore[union-attr]  # such a template has it, once
        else:
            return


def judge(libvirt: Driver, name: str, *, quick: bool = True) -> GuestVerdict:
    (guest,) = verify_host(libvirt, names=[name], quick=quick).guests
    return guest


def seen(guest: GuestVerdict) -> dict[tuple[Role, int | None], tuple[str, str | None, int | None]]:
    return {(one.role, one.number): (str(one.actual), one.scheduler, one.priority) for one in guest.threads}


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "realtime"])
def test_a_guest_of_every_template_starts_where_it_was_placed(
    libvirt: Driver, names: Callable[[str], str], template: str
) -> None:
    placement = placement_for(template, names(template))
    start(libvirt, template, placement)
    libvirt.resume(placement.name)
    guest = judge(libvirt, placement.name, quick=False)
    assert not {finding.code for finding in guest.findings} - {"host-thread-ran"}
    assert seen(guest)[Role.VCPU, 0] == (str(FIRST), "other", 0)
    assert seen(guest)[Role.VCPU, 1] == (str(SECOND), "other", 0)
    assert seen(guest)[Role.IOTHREAD, 1] == (str(FIRST), "other", 0)
    assert seen(guest)[Role.EMULATOR, None][1:] == ("other", 0)
    (cell,) = guest.cells
    assert cell.ok
    assert cell.local_ratio in (None, 1.0), "None: it was let run so shortly ago that nothing is resident yet"


def set_scheduler(tid: int, policy: int, priority: int) -> None:
    """The thread's class; where its cgroup allows no real time it goes to the root of that hierarchy first."""
    try:
        os.sched_setscheduler(tid, policy, os.sched_param(priority))
    except PermissionError:
        Path("/sys/fs/cgroup/cpu/tasks").write_text(str(tid))
        os.sched_setscheduler(tid, policy, os.sched_param(priority))


def test_real_time_classes_are_read_from_the_kernel_and_a_lost_one_is_found(
    libvirt: Driver, names: Callable[[str], str]
) -> None:
    placement = placement_for("realtime", names("realtime"))
    start(libvirt, "realtime", placement)
    for finding in judge(libvirt, placement.name).findings:
        assert finding.code == "scheduler-differs"
        assert finding.tid is not None
        assert finding.expected is not None
        set_scheduler(finding.tid, os.SCHED_FIFO, int(finding.expected.removeprefix("fifo ")))
    guest = judge(libvirt, placement.name)
    assert (guest.findings, guest.ok) == ((), True)
    assert seen(guest)[Role.VCPU, 0] == (str(FIRST), "other", 0)
    assert seen(guest)[Role.VCPU, 1] == (str(SECOND), "fifo", 2)
    assert seen(guest)[Role.IOTHREAD, 1] == (str(FIRST), "fifo", 3)
    assert seen(guest)[Role.EMULATOR, None] == (f"{FIRST}-{SECOND}", "fifo", 4)
    vcpu = next(one.tid for one in guest.threads if (one.role, one.number) == (Role.VCPU, 1))
    set_scheduler(vcpu, os.SCHED_OTHER, 0)
    (finding,) = judge(libvirt, placement.name).findings
    facts = (finding.code, finding.tid, finding.expected, finding.actual)
    assert facts == ("scheduler-differs", vcpu, "fifo 2", "other 0")
