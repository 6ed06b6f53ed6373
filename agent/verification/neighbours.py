"""Who else is on a guest's owned pCPUs: other guests, host threads, interrupts.

Two guests that own one pCPU is a finding.  Everything else is a notice, because on a host whose operator has not set
its pCPUs apart every thread and interrupt may go everywhere: a floating guest, a daemon or an interrupt that may use an
owned pCPU costs the guest time only when it does.  It becomes a finding where the operator asked for quiet: a host
thread that last ran on an owned pCPU which the kernel isolates, or which runs a real-time vCPU; an interrupt that is
delivered to a pCPU of a real-time vCPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.core.cpuset import CpuSet
from agent.core.observation import HostObservation, Neighbour, ObservedGuest, ObservedIrq
from agent.core.verdict import Finding
from agent.verification.expectation import Expectation

SHOWN = 4
"""Names in one message."""


def check_neighbours(
    name: str, expectations: Mapping[str, Expectation], observation: HostObservation
) -> tuple[list[Finding], list[Finding]]:
    """Findings and notices about what shares the owned pCPUs of the guest ``name``."""
    wanted = expectations[name].placement
    owned = wanted.owned()
    if not owned:
        return [], []
    findings = find_owners(name, owned, expectations)
    notices = find_visitors(name, owned, observation.guests)
    realtime = CpuSet(
        cpu for cell in wanted.cells for vcpu, cpus in cell.pins.items() if vcpu in wanted.realtime for cpu in cpus
    )
    quiet = owned & (observation.isolated | realtime)
    for finding in find_daemons(name, owned, observation.neighbours or ()):
        loud = finding.code == "host-thread-ran" and finding.cpus is not None and finding.cpus & quiet
        (findings if loud else notices).append(finding)
    for finding in find_irqs(name, owned, observation.irqs or ()):
        loud = finding.cpus is not None and finding.cpus & realtime
        (findings if loud else notices).append(finding)
    return findings, notices


def find_owners(name: str, owned: CpuSet, expectations: Mapping[str, Expectation]) -> list[Finding]:
    """Other guests that own a pCPU of this one: ``pCPU 40 is owned by two guests``."""
    found = []
    for other in sorted(expectations):
        both = owned & expectations[other].placement.owned() if other != name else CpuSet()
        if both:
            found.append(
                Finding(
                    code="two-owners",
                    message=f"pCPU {both} is owned by two guests: {name} and {other}",
                    guest=name,
                    cpus=both,
                    actual=other,
                )
            )
    return found


def find_visitors(name: str, owned: CpuSet, guests: Iterable[ObservedGuest]) -> list[Finding]:
    """Other guests with threads that may run on the owned pCPUs, and which of these they last ran on."""
    found = []
    for guest in sorted(guests, key=lambda one: one.name):
        masks = [thread for thread in guest.threads if thread.allowed is not None and thread.allowed & owned]
        if guest.name == name or not masks:
            continue
        may = CpuSet(cpu for thread in masks for cpu in (thread.allowed or ()) if cpu in owned)
        ran = CpuSet(thread.last_cpu for thread in masks if thread.last_cpu is not None and thread.last_cpu in owned)
        threads = "1 thread" if len(masks) == 1 else f"{len(masks)} threads"
        where = f"last ran on {ran}" if ran else "none last ran there"
        found.append(
            Finding(
                code="other-guest-allowed",
                message=f"{threads} of guest {guest.name} may run on owned pCPU {may}; {where}",
                guest=name,
                cpus=may,
                actual=guest.name,
            )
        )
    return found


def find_daemons(name: str, owned: CpuSet, neighbours: Sequence[Neighbour]) -> list[Finding]:
    """Host threads that may run on the owned pCPUs, and those that last did: two different things, told apart."""
    allowed = [one for one in neighbours if one.allowed & owned]
    ran = [one for one in allowed if one.last_cpu is not None and one.last_cpu in owned]
    found = []
    for code, group, did in (("host-thread-allowed", allowed, "may run"), ("host-thread-ran", ran, "last ran")):
        if not group:
            continue
        if code == "host-thread-ran":
            cpus = CpuSet(one.last_cpu for one in group if one.last_cpu is not None)
        else:
            cpus = CpuSet(cpu for one in group for cpu in one.allowed & owned)
        processes = sorted({(one.name, one.pid) for one in group if not one.kernel})
        kernel = sum(one.kernel for one in group)
        shown = ", ".join(f"{process}/{pid}" for process, pid in processes[:SHOWN])
        more = f" and {len(processes) - SHOWN} more" if len(processes) > SHOWN else ""
        threads = "1 host thread" if len(group) == 1 else f"{len(group)} host threads"
        message = f"{threads} ({kernel} of the kernel) {did} on owned pCPU {cpus}" + (shown and f": {shown}{more}")
        found.append(Finding(code=code, message=message, guest=name, cpus=cpus))
    return found


def find_irqs(name: str, owned: CpuSet, irqs: Sequence[ObservedIrq]) -> list[Finding]:
    """Interrupts that are delivered to owned pCPUs; where the kernel does not say, those that may be."""
    found = []
    for irq in irqs:
        target = irq.effective if irq.effective is not None else irq.allowed
        if not target or not target & owned:
            continue
        times = sum(count for cpu, count in irq.counts.items() if cpu in owned)
        found.append(
            Finding(
                code="irq",
                message=f"IRQ {irq.number} ({irq.name}) lands on owned pCPU {target & owned}, {times} times since boot",
                guest=name,
                cpus=target & owned,
                actual=str(irq.number),
                count=times,
            )
        )
    return found
