"""Knobs: the host's settings that decide whether pinning will work, ``knobs`` in the Topology document.

None means "the kernel does not tell"; an empty set means "set to nothing".
"""

from __future__ import annotations

import msgspec

from agent.core.cpuset import CpuSet


class BootSets(msgspec.Struct, frozen=True):
    """The CPU lists of the kernel command line (Documentation/admin-guide/kernel-parameters.rst).

    ``isolcpus_flags`` has the words before its list (``domain``, ``managed_irq``, ``nohz``).  ``irqaffinity`` is None
    when it is not given: then interrupts go to every pCPU.
    """

    isolcpus: CpuSet = CpuSet()
    isolcpus_flags: tuple[str, ...] = ()
    nohz_full: CpuSet = CpuSet()
    rcu_nocbs: CpuSet = CpuSet()
    irqaffinity: CpuSet | None = None

    def unscheduled(self) -> CpuSet:
        """The pCPUs that ``isolcpus`` takes from the scheduler: without flags, or with ``domain`` among them."""
        return self.isolcpus if not self.isolcpus_flags or "domain" in self.isolcpus_flags else CpuSet()


class IdleState(msgspec.Struct, frozen=True):
    """A C-state: how long leaving it takes, in microseconds, and the pCPUs on which it is enabled."""

    name: str
    latency_us: int | None
    enabled: CpuSet


class PoolState(msgspec.Struct, frozen=True):
    """A pool of huge pages on one cell, in pages; ``possible`` more could be made now of whole free blocks.

    ``possible`` is None for sizes larger than the kernel's largest free block, of which /proc/buddyinfo cannot tell.
    """

    cell: int
    size_kib: int
    total: int
    free: int
    possible: int | None = None


class Cgroups(msgspec.Struct, frozen=True):
    """The cgroup version, the group that guests get (``machine.slice``), its pCPUs, and those of ``system.slice``."""

    version: int | None = None
    guest_group: str | None = None
    guest_cpus: CpuSet | None = None
    system_cpus: CpuSet | None = None


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``cellwright doctor`` judges that is not topology.

    ``governors`` maps each cpufreq governor to its pCPUs.  ``vulnerabilities`` has those texts of
    /sys/devices/system/cpu/vulnerabilities that speak of SMT.
    """

    boot: BootSets | None = None
    zone_reclaim_mode: int | None = None
    numa_balancing: int | None = None
    ksm_run: int | None = None
    ksm_merge_across_nodes: int | None = None
    transparent_hugepages: str | None = None
    governors: dict[str, CpuSet] = {}
    idle_states: tuple[IdleState, ...] = ()
    irqbalance: bool | None = None
    tuned_profile: str | None = None
    huge_pages: tuple[PoolState, ...] = ()
    cgroups: Cgroups = Cgroups()
    smt_control: str | None = None
    vulnerabilities: dict[str, str] = {}
