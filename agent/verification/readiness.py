"""Is this host fit for pinned guests?  Facts in, findings out; one rule a function, all of them in RULES.

A finding says what is so, why it matters, and the exact command that changes it.  ``matters`` is for what breaks
pinning, isolation or locality; ``advice`` for what costs a little or depends on taste.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.knobs import Knobs
from agent.core.topology import HostTopology
from agent.core.units import format_kib

SLOW_EXIT_US = 50
"""C-states that take longer to leave than a context switch or a virtio notification."""


class Severity(StrEnum):
    """Whether a finding breaks something or only costs something."""

    MATTERS = "matters"
    ADVICE = "advice"


class ReadinessFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about the host that an operator should know."""

    code: str
    severity: Severity
    what: str
    why: str
    change: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What ``cellwright doctor`` says of a host."""

    schema: str = "cellwright.readiness/1"
    host: str
    findings: tuple[ReadinessFinding, ...]


Rule = Callable[[HostTopology, Knobs], Iterator[ReadinessFinding]]


def check_readiness(host: HostTopology, knobs: Knobs) -> tuple[ReadinessFinding, ...]:
    """All findings, those that matter first, then by code."""
    found = [finding for rule in RULES for finding in rule(host, knobs)]
    return tuple(
        sorted(found, key=lambda finding: (finding.severity is not Severity.MATTERS, finding.code, finding.what))
    )


def _matters(code: str, what: str, *, why: str, change: str) -> ReadinessFinding:
    return ReadinessFinding(code=code, severity=Severity.MATTERS, what=what, why=why, change=change)


def _advice(code: str, what: str, *, why: str, change: str) -> ReadinessFinding:
    return ReadinessFinding(code=code, severity=Severity.ADVICE, what=what, why=why, change=change)


def _pinnable(host: HostTopology) -> CpuSet:
    """The pCPUs kept for pinned guests alone; empty when none are: nothing, or a legacy set, is configured."""
    return host.dedicated() - host.shared()


def _make_pages(cell: int, size_kib: int, count: int) -> str:
    return f"echo {count} > /sys/devices/system/node/node{cell}/hugepages/hugepages-{size_kib}kB/nr_hugepages"


def no_dedicated_set(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """Without a dedicated set floating guests run on the pCPUs that pinned guests own."""
    if not _pinnable(host):
        yield _advice(
            "no-dedicated-set",
            "no pCPUs are kept for pinned guests",
            why="floating guests and the host's own processes may run on pCPUs that a pinned guest owns",
            change="set [host] cpu_dedicated_set and cpu_shared_set in /etc/cellwright/cellwright.toml",
        )


def nothing_left_for_the_host(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """QEMU's own threads, interrupts and the agent need a pCPU too."""
    dedicated = _pinnable(host)
    if dedicated and dedicated >= host.online:
        yield _matters(
            "nothing-left-for-the-host",
            f"all online pCPUs {host.online} are dedicated",
            why="emulator threads, interrupts and host processes take their time from pinned guests",
            change="leave at least one core of each cell out of [host] cpu_dedicated_set",
        )


def split_cores(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A core half dedicated, half not, is a core whose siblings disturb each other."""
    dedicated = _pinnable(host)
    split = [core.cpus for cell in host.cells for core in cell.cores if core.cpus & dedicated and core.cpus - dedicated]
    if split:
        inside = CpuSet(cpu for cpus in split for cpu in cpus & dedicated)
        outside = CpuSet(cpu for cpus in split for cpu in cpus - dedicated)
        yield _matters(
            "split-core",
            f"dedicated pCPUs {inside} have siblings {outside} that are not dedicated",
            why="whatever runs on the sibling takes half the core from the pinned guest",
            change=f"add {outside} to [host] cpu_dedicated_set, or take {inside} out of it",
        )


def host_processes_on_dedicated(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """The scheduler puts services on any pCPU that neither boot options nor cgroups keep free.

    A saved host without its cgroups does not tell; where all pCPUs are dedicated there is nowhere else.
    """
    boot_isolated = knobs.boot.unscheduled() if knobs.boot else CpuSet()
    system = host.online if knobs.cgroups.system_cpus is None else knobs.cgroups.system_cpus
    exposed = (_pinnable(host) - host.isolated - boot_isolated) & system
    rest = host.online - _pinnable(host)
    if not exposed or not rest or knobs.cgroups.version is None:
        return
    slices = ("system.slice", "user.slice", "init.scope")
    yield _matters(
        "host-processes-on-dedicated",
        f"system.slice may run on dedicated pCPUs {exposed}",
        why="every service of the host can take a pinned vCPU's pCPU for a time slice",
        change=" && ".join(f"systemctl set-property {name} AllowedCPUs={rest}" for name in slices)
        if knobs.cgroups.version == 2
        else f"boot with isolcpus=domain,managed_irq,{_pinnable(host)}",
    )


def shared_on_isolated(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """The kernel does not balance load over isolated pCPUs, so floating vCPUs pile up on the first one."""
    isolated = host.isolated | (knobs.boot.unscheduled() if knobs.boot else CpuSet())
    configured = host.shared_set is not None or host.dedicated_set is not None
    stuck = (host.shared() if configured else host.usable()) & isolated
    if stuck:
        yield _matters(
            "shared-on-isolated",
            f"shared pCPUs {stuck} are isolated",
            why="the kernel does not balance load over isolated pCPUs: floating vCPUs pile up on one of them",
            change=f"take {stuck} out of isolcpus on the kernel command line, or out of [host] cpu_shared_set",
        )


def ticks_on_isolated(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """Who isolates by boot option usually wants the timer tick and RCU callbacks gone as well."""
    if knobs.boot is None or not knobs.boot.isolcpus:
        return
    isolated = knobs.boot.isolcpus & _pinnable(host)
    for name, cpus in (("nohz_full", host.nohz_full | knobs.boot.nohz_full), ("rcu_nocbs", knobs.boot.rcu_nocbs)):
        # nohz_full implies rcu_nocbs (kernel-parameters.rst)
        missing = isolated - cpus - (host.nohz_full | knobs.boot.nohz_full)
        if missing:
            yield _advice(
                name.replace("_", "-"),
                f"isolated pCPUs {missing} are not in {name}",
                why="the timer tick or RCU callbacks interrupt the guest up to a thousand times a second",
                change=f"boot with {name}={isolated}",
            )


def interrupts_on_dedicated(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """Device interrupts go to every pCPU by default, and irqbalance spreads them on purpose.

    Where all pCPUs are dedicated there is nowhere else.
    """
    boot = knobs.boot
    dedicated = _pinnable(host)
    rest = host.online - dedicated
    if not rest:
        return
    kept_off = host.isolated | host.nohz_full | (boot.unscheduled() | boot.nohz_full if boot else CpuSet())
    if knobs.irqbalance and dedicated - kept_off:
        yield _matters(
            "irqbalance",
            f"irqbalance runs and may move interrupts to dedicated pCPUs {dedicated - kept_off}",
            why="each interrupt of the host stops the vCPU that runs there",
            change=f"echo IRQBALANCE_BANNED_CPULIST={dedicated} >> /etc/default/irqbalance"
            " && systemctl restart irqbalance",
        )
    elif boot and dedicated and not knobs.irqbalance:
        exposed = dedicated if boot.irqaffinity is None else dedicated & boot.irqaffinity
        if exposed:
            yield _advice(
                "irqaffinity",
                f"new interrupts may be served by dedicated pCPUs {exposed}",
                why="each interrupt of the host stops the vCPU that runs there",
                change=f"boot with irqaffinity={rest}, or set [agent] irq_steering = true",
            )


def memory_moves(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """Kernel services that move or share pages behind a placement's back; they only matter with several cells."""
    if len(host.cells) < 2:
        return
    if knobs.zone_reclaim_mode:
        yield _matters(
            "zone-reclaim",
            f"vm.zone_reclaim_mode is {knobs.zone_reclaim_mode}",
            why="a cell that runs full drops its page cache or swaps guests out while other cells have free memory",
            change="sysctl -w vm.zone_reclaim_mode=0",
        )
    if knobs.numa_balancing:
        yield _matters(
            "numa-balancing",
            f"kernel.numa_balancing is {knobs.numa_balancing}",
            why="the kernel unmaps guest pages to see who touches them: faults that pinned guests gain nothing from",
            change="sysctl -w kernel.numa_balancing=0",
        )
    if knobs.ksm_run == 1 and knobs.ksm_merge_across_nodes != 0:
        yield _matters(
            "ksm-across-cells",
            "KSM merges equal pages of different cells",
            why="a pinned guest's page may be replaced by one on a far cell",
            change="echo 2 > /sys/kernel/mm/ksm/run && echo 0 > /sys/kernel/mm/ksm/merge_across_nodes"
            " && echo 1 > /sys/kernel/mm/ksm/run",
        )


def transparent_hugepages(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """QEMU asks for huge pages by madvise; with "never" it gets none."""
    if knobs.transparent_hugepages == "never":
        yield _advice(
            "transparent-hugepages",
            "transparent huge pages are off",
            why="guests without hw:mem_page_size run on base pages only: more TLB misses, larger page tables",
            change="echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )


def sleepy_pcpus(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A pCPU that clocks down or sleeps deeply answers late."""
    dedicated = _pinnable(host)
    for governor, cpus in knobs.governors.items():
        if governor != "performance" and cpus & dedicated:
            yield _advice(
                "governor",
                f"dedicated pCPUs {cpus & dedicated} have the cpufreq governor {governor}",
                why="the clock follows the load with a delay that the guest feels",
                change=f"cpupower -c {cpus & dedicated} frequency-set -g performance, or while guests use them:"
                " [agent] cpu_power_management = true with the strategy governor",
            )
    deep = [
        state for state in knobs.idle_states if (state.latency_us or 0) > SLOW_EXIT_US and state.enabled & dedicated
    ]
    if deep:
        cpus = CpuSet(cpu for state in deep for cpu in state.enabled & dedicated)
        names = ", ".join(f"{state.name} ({state.latency_us} µs)" for state in deep)
        yield _advice(
            "c-states",
            f"dedicated pCPUs {cpus} may enter {names}",
            why="leaving such a state takes longer than the work that woke the vCPU",
            change=f"cpupower -c {cpus} idle-set -D {SLOW_EXIT_US}",
        )


def tuned_profile(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A profile for desktops or batch work undoes what is set by hand."""
    profile = knobs.tuned_profile
    if profile is not None and not any(word in profile for word in ("virtual-host", "cpu-partitioning", "realtime")):
        yield _advice(
            "tuned-profile",
            f"the tuned profile is {profile}",
            why="tuned sets governors, C-states and sysctls again at every start, for another purpose than guests",
            change="tuned-adm profile virtual-host",
        )


def huge_page_pools(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """Pools that differ between cells with pCPUs, and memory too fragmented to make the pool larger."""
    for_guests = [cell.id for cell in host.cells if cell.memory_kib and cell.cpus]
    for size_kib in sorted({pool.size_kib for pool in knobs.huge_pages}):
        totals = {pool.cell: pool.total for pool in knobs.huge_pages if pool.size_kib == size_kib}
        empty = [cell for cell in for_guests if not totals.get(cell)]
        if any(totals.values()) and empty:
            cells = f"cell {empty[0]} has" if len(empty) == 1 else f"cells {', '.join(map(str, empty))} have"
            yield _matters(
                "huge-pages-missing",
                f"{cells} no {format_kib(size_kib)} pages while others have",
                why=f"no guest with hw:mem_page_size={size_kib} can be placed there",
                change=" && ".join(_make_pages(cell, size_kib, max(totals.values())) for cell in empty),
            )
    free_kib = {cell.id: cell.free_kib for cell in host.cells}
    for pool in knobs.huge_pages:
        free = free_kib.get(pool.cell)
        if free and pool.total and pool.possible is not None and pool.possible * pool.size_kib < free // 4:
            yield _advice(
                "fragmented",
                f"cell {pool.cell}: of {format_kib(free)} free memory only {pool.possible} pages of"
                f" {format_kib(pool.size_kib)} could be made",
                why="memory is fragmented: a larger pool will come out smaller than asked for",
                change="echo 1 > /proc/sys/vm/compact_memory",
            )


def guest_cpuset(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A pin outside the guests' cgroup cpuset fails with EINVAL when the guest starts."""
    groups = knobs.cgroups
    wanted = host.dedicated() | host.shared()
    missing = CpuSet() if groups.guest_cpus is None else wanted - groups.guest_cpus
    if missing:
        where = groups.guest_group or "the guests' cgroup"
        yield _matters(
            "guest-cpuset",
            f"{where} is limited to {groups.guest_cpus}: guests cannot be pinned to {missing}",
            why="libvirt fails to start a guest whose pins are outside its cgroup's cpuset",
            change=f"systemctl set-property {where} AllowedCPUs={wanted}",
        )
    if groups.version == 1:
        yield _advice(
            "cgroup-version",
            "the cpuset controller is cgroup version 1",
            why="there a pCPU that goes offline leaves every cpuset for good, and pins of running guests with it",
            change="boot with systemd.unified_cgroup_hierarchy=1",
        )


def restricted(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A process in a container or cpuset sees more pCPUs than it may use."""
    if host.allowed is not None and host.online - host.allowed:
        yield _matters(
            "restricted",
            f"this process may use {host.allowed} of the online pCPUs {host.online}",
            why="what is started from here, guests included, inherits the limit",
            change="start it outside the container or cpuset, or widen AllowedCPUs of its unit",
        )


def smt_mitigations(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """On these parts one sibling can read what the other one does."""
    names = [name for name, text in sorted(knobs.vulnerabilities.items()) if "SMT vulnerable" in text]
    if names and host.smt:
        yield _matters(
            "smt-vulnerable",
            f"{', '.join(names)}: siblings can read each other's data",
            why="guests of different owners must never share a core: it takes core scheduling, whole cores, or no SMT",
            change="give flavors hw:cpu_thread_policy=isolate, or echo off > /sys/devices/system/cpu/smt/control",
        )


def not_told(host: HostTopology, knobs: Knobs) -> Iterator[ReadinessFinding]:
    """A saved host has the files that somebody saved: what they do not tell is no good news."""
    sources = {
        "the kernel command line": knobs.boot,
        "cgroups": knobs.cgroups.version,
        "running services": knobs.irqbalance,
    }
    missing = [name for name, value in sources.items() if value is None]
    if missing:
        yield _advice(
            "not-told",
            f"not known: {', '.join(missing)}",
            why="what they would show is not among these findings",
            change="ask on the host itself, or of what 'cellwright snapshot' packed there",
        )


RULES: tuple[Rule, ...] = (
    no_dedicated_set,
    nothing_left_for_the_host,
    split_cores,
    host_processes_on_dedicated,
    shared_on_isolated,
    ticks_on_isolated,
    interrupts_on_dedicated,
    memory_moves,
    transparent_hugepages,
    sleepy_pcpus,
    tuned_profile,
    huge_page_pools,
    guest_cpuset,
    restricted,
    smt_mitigations,
    not_told,
)
