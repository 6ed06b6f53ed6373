"""Why something drifted, where it can be known.

Every cause leaves its own trace, and the traces are looked for in the order in which they rule each other out:

1. a pCPU of the placement is offline now, or was offline at the reading before: the kernel took it out of every mask;
2. libvirt's live XML asks for the very mask that is seen: somebody used virsh or another libvirt client;
3. the thread has left the cgroup that libvirt made for it: cgroup version 1 moves threads to the parent when the last
   pCPU of a cpuset goes offline, and never back;
4. the cpuset of the thread's cgroup, or of one above it, is not what libvirt wrote: a systemd reload, or another
   manager of cgroups, rewrote it;
5. XML and cgroup are as they should be and the mask is not: somebody called taskset (sched_setaffinity) on the thread.

Of a scheduling class libvirt's live XML alone can tell.
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.observation import HostObservation, ObservedGuest, ObservedThread, Role
from agent.core.verdict import Finding
from agent.verification.expectation import Expectation, expect_mask, expect_scheduler

UNKNOWN = "unknown"

THREAD_CODES = ("mask-differs", "cgroup-differs", "pcpu-offline")


def with_cause(
    finding: Finding, expectation: Expectation, now: HostObservation, before: HostObservation | None = None
) -> Finding:
    """The finding with its cause, or ``unknown``; findings about anything else than masks stay as they are."""
    if finding.code == "irq":
        cause = _irq_cause(finding, now, before)
        return msgspec.structs.replace(finding, cause=cause) if cause else finding
    if finding.code == "scheduler-differs":
        return msgspec.structs.replace(finding, cause=_class_cause(finding, expectation, now))
    if finding.code not in THREAD_CODES or finding.tid is None:
        return finding
    return msgspec.structs.replace(finding, cause=find_cause(finding.guest, finding.tid, expectation, now, before))


def find_cause(
    guest_name: str,
    tid: int,
    expectation: Expectation,
    now: HostObservation,
    before: HostObservation | None = None,
) -> str:
    """Who or what changed the pCPUs of one thread; ``before`` is an earlier reading, when there is one."""
    guest = next((one for one in now.guests if one.name == guest_name), None)
    thread = next((one for one in guest.threads if one.tid == tid), None) if guest else None
    expected = expect_mask(expectation.placement, thread) if thread else None
    if guest is None or thread is None or expected is None or thread.allowed is None:
        return UNKNOWN
    if offline := expected - now.online:
        return f"pCPU {offline} is offline"
    if before is not None and (returned := expected - before.online):
        return f"pCPU {returned} went offline and came back"
    configured = expect_mask(expectation.configured, thread) if expectation.configured else None
    if configured is not None and configured != expected and configured == thread.allowed:
        return f"libvirt was told so: its live XML has {configured} (virsh or another libvirt client)"
    return _cgroup_cause(guest, thread, expected) or _mask_cause(guest, thread, expected)


def _cgroup_cause(guest: ObservedGuest, thread: ObservedThread, expected: CpuSet) -> str | None:
    leaf = _leaf(thread)
    if leaf and thread.cgroup is not None and not thread.cgroup.endswith("/" + leaf) and _has_leaves(guest):
        return (
            f"the thread is in cgroup {thread.cgroup} and not in {leaf}: its pCPU went offline and came back"
            " (cgroup version 1 moves threads up), or somebody moved it"
        )
    own = guest.cgroup(thread.cgroup)
    if own is None or own.effective is None:
        return None
    if own.cpus is not None and own.cpus != expected and own.cpus != CpuSet() and thread.allowed == own.effective:
        return f"the cpuset of cgroup {own.path} was rewritten to {own.cpus} (a systemd reload, or another manager)"
    if own.cpus == CpuSet() and own.version == 2 and thread.allowed == own.effective:
        return f"the cpuset of cgroup {own.path} was emptied (a systemd reload, or another manager)"
    if not expected <= own.effective:
        above = [one for one in guest.cgroups if own.path.startswith(one.path) and one.cpus is not None]
        narrow = [one for one in above if one.cpus and not expected <= one.cpus]
        where = min(narrow or [own], key=lambda one: len(one.path))
        allowed = where.cpus or where.effective
        return f"cgroup {where.path} allows pCPU {allowed} alone (a systemd reload, or another manager)"
    return None


def _mask_cause(guest: ObservedGuest, thread: ObservedThread, expected: CpuSet) -> str:
    own = guest.cgroup(thread.cgroup)
    if own is not None and (own.effective is None or not thread.allowed or not thread.allowed <= own.effective):
        return UNKNOWN
    return "somebody set the mask of the thread (taskset, sched_setaffinity): cgroup and libvirt's XML are unchanged"


def _class_cause(finding: Finding, expectation: Expectation, now: HostObservation) -> str:
    """libvirt sets classes when a guest starts, and never looks again."""
    guest = next((one for one in now.guests if one.name == finding.guest), None)
    thread = next((one for one in guest.threads if one.tid == finding.tid), None) if guest else None
    if thread is None or expectation.configured is None:
        return UNKNOWN
    wanted = expect_scheduler(expectation.placement, thread)
    if expect_scheduler(expectation.configured, thread) == wanted:
        return "somebody set the class of the thread (chrt, sched_setscheduler): libvirt's XML asks for the right one"
    return "libvirt sets classes when a guest starts, and its live XML asks for another one"


def _leaf(thread: ObservedThread) -> str | None:
    """The last part of the cgroup that libvirt puts a thread in."""
    if thread.role in (Role.VCPU, Role.IOTHREAD) and thread.number is not None:
        return f"{thread.role}{thread.number}"
    return None


def _has_leaves(guest: ObservedGuest) -> bool:
    """Whether libvirt made cgroups for this guest at all; an unprivileged libvirtd makes none."""
    return any((one.cgroup or "").endswith("/emulator") for one in guest.threads)


def _irq_cause(finding: Finding, now: HostObservation, before: HostObservation | None) -> str | None:
    """An interrupt that was elsewhere at the reading before has been steered since."""
    if before is None or before.irqs is None or now.irqs is None:
        return None
    was = next((irq for irq in before.irqs if str(irq.number) == finding.actual), None)
    is_now = next((irq for irq in now.irqs if str(irq.number) == finding.actual), None)
    if was is None or is_now is None or was.allowed == is_now.allowed:
        return None
    who = "irqbalance runs and moved it" if now.irqbalance else "somebody wrote its smp_affinity"
    return f"{who}: it was allowed {was.allowed}, now {is_now.allowed}"
