"""The host as the agent reports it: topology with its digest, facts, and the claims of foreign guests."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress

import msgspec

from agent import __version__
from agent.compute.daemon.guests import Guests
from agent.compute.driver import Driver
from agent.compute.usage import sum_usage
from agent.core.codec import encode
from agent.core.cpulist import HIGHEST_CPU
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.facts import HostFacts, cpu_info_of, supported_by
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.core.wire import HostReport
from agent.inspection.host import read_host
from agent.settings.document import Settings
from agent.settings.sets import apply_sets, limits


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a report says, read at one time."""

    topology: HostTopology
    digest: str
    facts: HostFacts
    foreign: Usage
    foreign_vcpus: int
    foreign_ram_mb: int
    reserved_ram_mb: int
    running: tuple[str, ...]


def read_topology(
    settings: Settings, *, complete: Callable[[Callable[[], HostTopology]], HostTopology] = lambda read: read()
) -> tuple[HostTopology, str]:
    """This host with the operator's sets, and what is wrong with them ("" when nothing is).

    ``complete`` adds what our power management has put to sleep.

    A pCPU of a set that went offline is left out: a running host must not lose its agent over it.  What this process
    may use is read with its own confinement to the housekeeping pCPUs lifted: guests are not its children.
    """
    with suppress(OSError):  # a kernel that allows nothing more than now
        os.sched_setaffinity(os.getpid(), range(HIGHEST_CPU >> 3))
    host = complete(read_host)
    try:
        return apply_sets(host, settings), ""
    except BadInput as why:
        present = {
            key: cpus & host.online if (cpus := getattr(settings.host, key)) is not None else None
            for key in ("vcpu_pin_set", "cpu_dedicated_set", "cpu_shared_set")
        }
        less = msgspec.structs.replace(settings, host=msgspec.structs.replace(settings.host, **present))
        return apply_sets(host, less), str(why)


def digest_of(host: HostTopology) -> str:
    """SHA-256 of the topology without what always moves: when it was read, and what is free."""
    cells = tuple(
        msgspec.structs.replace(
            cell, free_kib=None, pages=tuple(msgspec.structs.replace(pool, free=None) for pool in cell.pages)
        )
        for cell in host.cells
    )
    return hashlib.sha256(encode(msgspec.structs.replace(host, collected_at=None, cells=cells))).hexdigest()


def housekeeping(host: HostTopology) -> CpuSet:
    """The pCPUs for the agent itself: online, not dedicated and not isolated; all online ones where none is left."""
    kept = host.online - (host.dedicated_set or CpuSet()) - host.isolated
    return kept or host.online


def read_facts(libvirt: Driver, settings: Settings, host: HostTopology) -> HostFacts:
    """What the host is beside its topology: hypervisor, CPU, disk; the limits are the operator's."""
    versions = dict(libvirt.versions())
    types = ("kvm", "qemu") if "<domain type='kvm'" in libvirt.capabilities() else ("qemu",)
    try:
        total, _used, free = shutil.disk_usage(settings.agent.guests_dir)
    except OSError:
        total, free = 0, None
    return HostFacts(
        hypervisor_version=_number(versions.get("qemu", "")),
        hypervisor_hostname=host.hostname,
        supported_instances=supported_by(host, types),
        cpu_info=cpu_info_of(host),
        stats={"libvirt_version": versions.get("libvirt", "")},
        disk_gb=total >> 30,
        disk_available_least_gb=None if free is None else free >> 30,
        limits=_limits(settings),
    )


def view_of(host: HostTopology, facts: HostFacts, guests: Guests, settings: Settings) -> HostView:
    """What the report says of these."""
    foreign = guests.foreign()
    return HostView(
        topology=host,
        digest=digest_of(host),
        facts=facts,
        foreign=sum_usage(foreign),
        foreign_vcpus=sum(one.placement.vcpus for one in foreign),
        foreign_ram_mb=sum(one.placement.memory_kib for one in foreign) >> 10,
        reserved_ram_mb=settings.host.reserved_host_memory_mb or 0,
        running=tuple(sorted(domain.instance for domain in guests.own if domain.running)),
    )


def report_of(view: HostView, *, agent: str, whole: bool) -> HostReport:
    """The report, with the topology where it is wanted ``whole``."""
    return HostReport(
        hostname=view.topology.hostname,
        agent=agent,
        version=__version__,
        digest=view.digest,
        topology=view.topology if whole else None,
        facts=view.facts,
        foreign=view.foreign,
        foreign_vcpus=view.foreign_vcpus,
        foreign_ram_mb=view.foreign_ram_mb,
        reserved_ram_mb=view.reserved_ram_mb,
        running=view.running,
    )


def _limits(settings: Settings) -> Limits:
    """The operator's limits, with the ratios that a scheduler assumes where he says none."""
    said, assumed = limits(settings), HostFacts().limits
    return msgspec.structs.replace(
        said,
        cpu_allocation_ratio=said.cpu_allocation_ratio or assumed.cpu_allocation_ratio,
        ram_allocation_ratio=said.ram_allocation_ratio or assumed.ram_allocation_ratio,
    )


def _number(version: str) -> int:
    """libvirt's number of a version: 7.2.22 is 7002022."""
    parts = [int(part) for part in version.split(".") if part.isdecimal()]
    return sum(part * scale for part, scale in zip(parts, (1_000_000, 1_000, 1), strict=False))
