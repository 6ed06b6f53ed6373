"""A guest that starts: QEMU allocates, every thread goes where its placement has it, and only then a vCPU runs.

Since QEMU 7.1 (with libvirt 9.0) memory that is allocated at the start, huge pages among it, is allocated by threads
that set their own affinity to the memory's host cell.  They inherit the cgroup of the emulator's threads, and where
that has no pCPU of the cell the guest fails to start ("Setting CPU affinity failed: Invalid argument").  So the
emulator's pin *in the configuration* has, for each such cell, the guest's own pCPUs there as well; a plain ``virsh
start``, or libvirtd's autostart after a reboot, then works, at the price of emulator threads on the guest's own pCPUs
until ``cellwright repair``; ``verify`` finds them, because it goes by the intent in the metadata.  With an exact pin
such a host would come back from a reboot without the guest.  What is started here is narrowed while still paused.
Source: the property ``node-affinity`` of QEMU's object ``thread-context``, qapi/qom.json.
"""

from __future__ import annotations

from agent.compute.domains import Refused
from agent.compute.driver import Driver
from agent.compute.prove import verify_threads
from agent.compute.settle import settle_threads
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.placement import Placement
from agent.core.topology import HostTopology
from agent.core.units import format_kib
from agent.core.verdict import GuestVerdict
from agent.domain.document import Document
from agent.domain.parse import parse_intent
from agent.inspection.capabilities import parse_capabilities
from agent.inspection.host import read_host


def start_placed(libvirt: Driver, name: str) -> GuestVerdict | None:
    """Start a defined guest of ours, prove its threads while it is paused, and let it run.

    Raises CellwrightError, with the guest stopped again, when a thread is not where it should be.
    """
    try:
        libvirt.start(name, paused=True)
    except Refused as why:
        intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
        short = describe_shortage(intent.placement, read_host()) if intent and "monitor" in str(why) else ""
        raise Refused(f"{why}{short}") from why
    try:
        narrow_emulator(libvirt, name)
        verdict = check_started(libvirt, name)
    except CellwrightError:
        if libvirt.domain(name).active:
            libvirt.destroy(name)
        raise
    libvirt.resume(name)
    return verdict


def describe_shortage(placement: Placement, host: HostTopology) -> str:
    """Which cells have less free memory than a guest takes there, behind the message of a QEMU that ended at its start.

    The kernel kills who must have memory of a cell that has none left, and libvirt only sees the process end.
    """
    free = {cell.id: cell.free_kib for cell in host.cells}
    return "".join(
        f"; cell {cell.host_cell} has {format_kib(has)} free of the {format_kib(cell.memory_kib)} that it takes there"
        for cell in placement.cells
        if not cell.huge and (has := free.get(cell.host_cell)) is not None and has < cell.memory_kib
    )


def with_start_pin(libvirt: Driver, placement: Placement, xml: str) -> str:
    """The domain XML with an emulator pin that lets QEMU allocate; the same text where the placement's does."""
    document = Document(xml, source=f"domain {placement.name}")
    root = document.root
    pin = root.find("cputune/emulatorpin")
    backing = root.find("memoryBacking")
    if pin is None or backing is None:
        return xml
    allocation = backing.find("allocation")
    if backing.find("hugepages") is None and (allocation is None or allocation.get("mode") != "immediate"):
        return xml
    cells = {cell.id: cell.cpus for cell in parse_capabilities(libvirt.capabilities().encode()).cells}
    wide = start_emulator(placement, cells)
    if wide == placement.emulator:
        return xml
    pin.set("cpuset", str(wide))
    return document.text()


def start_emulator(placement: Placement, cells: dict[int, CpuSet]) -> CpuSet:
    """The emulator's pCPUs, and the guest's own on each of its cells that these miss; ``cells`` is cell → pCPUs."""
    wide = placement.emulator
    for cell in placement.cells:
        if placement.emulator.isdisjoint(cells.get(cell.host_cell, CpuSet())):
            wide = wide | CpuSet(cpu for cpus in cell.pins.values() for cpu in cpus)
    return wide


def narrow_emulator(libvirt: Driver, name: str) -> None:
    """Give the emulator's threads of a running guest the placement's pCPUs, if they have others."""
    intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
    if intent is None or not intent.placement.cells or not intent.placement.emulator:
        return
    if libvirt.emulator_pin(name) != intent.placement.emulator:
        libvirt.pin_emulator(name, intent.placement.emulator)
        settle_threads(libvirt, name)


def check_started(libvirt: Driver, name: str) -> GuestVerdict | None:
    """The verdict on a guest's threads; CellwrightError with the findings when one is not where it should be."""
    if libvirt.domain(name).pid is None:
        return None
    judged = verify_threads(libvirt, name)
    if not judged.guests:
        raise CellwrightError(f"domain {name}: it could not be checked: {'; '.join(judged.not_checked)}")
    (verdict,) = judged.guests
    if verdict.findings:
        raise CellwrightError(
            f"domain {name}: its threads are not where it was placed: "
            + "; ".join(finding.message for finding in verdict.findings)
        )
    return verdict
