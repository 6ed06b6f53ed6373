"""Threads against the placement: masks, cgroups, scheduling, and where they last ran."""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedGuest, ObservedThread, Role
from agent.core.placement import Placement
from agent.core.verdict import Finding, ThreadCheck
from agent.verification.expectation import Expectation, expect_mask, expect_scheduler


def check_threads(wanted: Placement, guest: ObservedGuest) -> tuple[ThreadCheck, ...]:
    """One check for every thread; vCPUs first, then I/O threads, then the others."""
    order = [Role.VCPU, Role.IOTHREAD, *(role for role in Role if role not in (Role.VCPU, Role.IOTHREAD))]
    threads = sorted(guest.threads, key=lambda thread: (order.index(thread.role), thread.number or 0, thread.tid))
    return tuple(_check_thread(wanted, guest, thread) for thread in threads)


def find_thread_findings(
    expectation: Expectation, guest: ObservedGuest, checks: tuple[ThreadCheck, ...], *, online: CpuSet, present: CpuSet
) -> list[Finding]:
    """What differs in masks, scheduling and cgroups, and which vCPU threads there should be and are not."""
    wanted = expectation.placement
    findings = []
    for check in checks:
        findings += _mask_findings(guest, check, online=online, present=present)
        thread = next(one for one in guest.threads if one.tid == check.tid)
        findings += _scheduler_findings(wanted, guest, thread)
    return findings + _count_findings(wanted, guest, expectation.plugged)


def find_unproven_threads(guest: ObservedGuest) -> list[str]:
    """What the reading leaves open about vCPU threads: there were none, or one that runs all vCPUs in turn."""
    vcpus = [thread for thread in guest.threads if thread.role is Role.VCPU]
    if guest.threads and not vcpus:
        return ["no vCPU thread was seen: the guest is starting, or ending"]
    if any(thread.number is None for thread in vcpus):
        return ["one thread runs all vCPUs in turn (TCG without multi-threading): none is on a pCPU of its own"]
    return []


def describe(role: Role, number: int | None, tid: int, name: str = "") -> str:
    """How a message names a thread: ``vCPU 0 (tid 1234)``, ``worker (tid 1240)``."""
    word = {Role.VCPU: "vCPU", Role.IOTHREAD: "I/O thread", Role.RCU: "RCU thread"}.get(role, f"{role} thread")
    of = {Role.VCPU: f" {number}", Role.IOTHREAD: f" {number}"}.get(role, "") if number is not None else ""
    named = f" {name!r}" if role is Role.OTHER and name else ""
    return f"{word}{of}{named} (tid {tid})"


def _check_thread(wanted: Placement, guest: ObservedGuest, thread: ObservedThread) -> ThreadCheck:
    expected = expect_mask(wanted, thread)
    cgroup = guest.cgroup(thread.cgroup)
    return ThreadCheck(
        role=thread.role,
        number=thread.number,
        tid=thread.tid,
        name=thread.name,
        expected=expected,
        actual=thread.allowed,
        ok=fits_mask(thread.role, thread.allowed, expected)
        if thread.allowed is not None and expected is not None
        else None,
        cgroup=thread.cgroup,
        cgroup_cpus=cgroup.effective if cgroup else None,
        last_cpu=thread.last_cpu,
        inside=thread.last_cpu in expected if expected is not None and thread.last_cpu is not None else None,
        scheduler=thread.scheduler,
        priority=thread.priority,
        wait_ns=thread.wait_ns,
        mems=thread.mems,
    )


def fits_mask(role: Role, actual: CpuSet, expected: CpuSet) -> bool:
    """Whether a mask is the wanted one.  A part of it is right for a thread that fills memory: QEMU keeps it on its
    cell (thread-context objects, since QEMU 7.2)."""
    return bool(actual) and actual <= expected if role is Role.PREALLOC else actual == expected


def fits_class(actual: tuple[str, int], expected: tuple[str, int]) -> bool:
    """Whether a scheduling class is the wanted one; ``batch`` and ``idle`` are the normal scheduler's too."""
    return actual == expected or (expected[0] == "other" and actual[0] in ("batch", "idle"))


def _mask_findings(guest: ObservedGuest, check: ThreadCheck, *, online: CpuSet, present: CpuSet) -> list[Finding]:
    """At most one finding a thread: an offline pCPU explains a mask that differs, and that one a cgroup that does."""
    if check.expected is None or check.actual is None:
        return []
    who = describe(check.role, check.number, check.tid, check.name)

    def finding(code: str, message: str, cpus: CpuSet) -> Finding:
        return Finding(
            code=code,
            message=message,
            guest=guest.name,
            role=check.role,
            number=check.number,
            tid=check.tid,
            cpus=cpus,
            expected=str(check.expected),
            actual=str(check.actual),
        )

    if present and (absent := check.expected - present):
        message = f"{who} is placed on pCPU {absent}, which this host does not have; it may run on {check.actual}"
        return [finding("pcpu-absent", message, absent)]
    if offline := check.expected - online:
        message = f"{who} is placed on pCPU {offline}, which is offline; it may run on {check.actual}"
        return [finding("pcpu-offline", message, offline)]
    if not fits_mask(check.role, check.actual, check.expected):
        message = f"{who} may run on pCPU {check.actual}, expected {check.expected}"
        return [finding("mask-differs", message, check.actual - check.expected)]
    if check.cgroup_cpus is not None and not check.expected <= check.cgroup_cpus:
        message = f"{who}: its cgroup {check.cgroup} allows pCPU {check.cgroup_cpus}, expected {check.expected}"
        return [finding("cgroup-differs", message, check.expected - check.cgroup_cpus)]
    return []


def _scheduler_findings(wanted: Placement, guest: ObservedGuest, thread: ObservedThread) -> list[Finding]:
    expected = expect_scheduler(wanted, thread)
    if expected is None or thread.scheduler is None or thread.priority is None:
        return []
    actual = (thread.scheduler, thread.priority)
    if fits_class(actual, expected):
        return []
    who = describe(thread.role, thread.number, thread.tid, thread.name)
    return [
        Finding(
            code="scheduler-differs",
            message=f"{who} is scheduled {actual[0]} {actual[1]}, expected {expected[0]} {expected[1]}",
            guest=guest.name,
            role=thread.role,
            number=thread.number,
            tid=thread.tid,
            expected=f"{expected[0]} {expected[1]}",
            actual=f"{actual[0]} {actual[1]}",
        )
    ]


def _count_findings(wanted: Placement, guest: ObservedGuest, plugged: CpuSet | None) -> list[Finding]:
    """A vCPU without a thread, or a thread without a vCPU; nothing while not every thread could be read.

    A vCPU that is not plugged in has a place and no thread.
    """
    vcpus = [thread for thread in guest.threads if thread.role is Role.VCPU]
    if not vcpus or any(thread.number is None for thread in vcpus):
        return []
    if any(thread.not_checked for thread in guest.threads):
        return []
    seen = CpuSet(thread.number for thread in vcpus if thread.number is not None)
    placed = CpuSet(range(wanted.vcpus))
    expected = placed if plugged is None else placed & plugged
    missing, extra = expected - seen, seen - placed
    if not missing and not extra:
        return []
    parts = [f"vCPU {missing} has no thread"] * bool(missing) + [f"vCPU {extra} is not in the placement"] * bool(extra)
    return [
        Finding(
            code="vcpus-differ",
            message="; ".join(parts),
            guest=guest.name,
            role=Role.VCPU,
            expected=str(expected),
            actual=str(seen),
        )
    ]
