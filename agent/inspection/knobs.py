"""The host's knobs from /proc and /sys: read for ``doctor`` and ``topology --knobs`` only.

Files of single pCPUs are opened here (a governor a policy, a switch a C-state), so the default ``topology`` never
comes here.  Sources: Documentation/admin-guide/sysctl/{vm,kernel}.rst, mm/ksm.rst, mm/transhuge.rst,
pm/{cpufreq,cpuidle}.rst, hw-vuln/*.rst and cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.knobs import BootSets, Cgroups, IdleState, Knobs, PoolState
from agent.inspection.cells import FOLDER as NODE
from agent.inspection.cells import parse_cell_folders
from agent.inspection.files import Root
from agent.inspection.memory import read_huge_pools, read_huge_sizes
from agent.inspection.values import parse_count, parse_cpu_list

_CPU = "sys/devices/system/cpu"
_KSM = "sys/kernel/mm/ksm"
_CGROUP = "sys/fs/cgroup"
_GUEST_GROUPS = ("machine.slice", "machine")
"""Where libvirt puts guests with systemd, and without it."""


def read_knobs(root: Root, online: CpuSet) -> Knobs:
    """All knobs that the files tell; ``online`` bounds the per-pCPU files that are opened."""
    last = online.mask.bit_length() - 1
    return Knobs(
        boot=root.parsed("proc/cmdline", lambda text: parse_cmdline(text, last)),
        zone_reclaim_mode=root.parsed("proc/sys/vm/zone_reclaim_mode", parse_count),
        numa_balancing=root.parsed("proc/sys/kernel/numa_balancing", parse_count),
        ksm_run=root.parsed(f"{_KSM}/run", parse_count),
        ksm_merge_across_nodes=root.parsed(f"{_KSM}/merge_across_nodes", parse_count),
        transparent_hugepages=root.parsed("sys/kernel/mm/transparent_hugepage/enabled", parse_choice),
        governors=_governors(root),
        idle_states=_idle_states(root, online),
        irqbalance=_runs(root, "irqbalance"),
        tuned_profile=root.line("etc/tuned/active_profile"),
        huge_pages=_huge_pages(root),
        cgroups=_cgroups(root),
        smt_control=root.line(f"{_CPU}/smt/control"),
        vulnerabilities={
            name: text
            for name in root.names(f"{_CPU}/vulnerabilities") or ()
            if name.isascii() and "SMT" in (text := root.line(f"{_CPU}/vulnerabilities/{name}") or "")
        },
    )


def parse_cmdline(text: str, last: int) -> BootSets:
    """The CPU lists of a kernel command line; ``last`` is the highest pCPU, which the kernel writes ``N``.

    Of a parameter given twice the last counts, as in the kernel.
    """
    given = dict(word.partition("=")[::2] for word in text.split())
    flags: list[str] = []
    items = given.get("isolcpus", "").split(",")
    while items and items[0][:1].isalpha() and items[0] not in ("all", "N"):
        flags.append(items.pop(0))
    return BootSets(
        isolcpus=_boot_list(",".join(items), last),
        isolcpus_flags=tuple(flags),
        nohz_full=_boot_list(given.get("nohz_full", ""), last),
        rcu_nocbs=_boot_list(given.get("rcu_nocbs", ""), last),
        irqaffinity=_boot_list(given["irqaffinity"], last) if given.get("irqaffinity") else None,
    )


def parse_choice(text: str) -> str | None:
    """The bracketed word of ``always [madvise] never``."""
    _, bracket, rest = text.partition("[")
    word, end, _ = rest.partition("]")
    if not (bracket and end and word.isalpha()):
        raise BadInput(f"found {text.strip()[:60]!r}; allowed: words of which one is in brackets")
    return word


def parse_buddyinfo(text: str) -> dict[int, tuple[int, ...]]:
    """Cell → free blocks by order, all zones together, of /proc/buddyinfo (Documentation/filesystems/proc.rst)."""
    cells: dict[int, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if len(words) < 5 or words[0] != "Node" or words[2] != "zone" or not all(map(str.isdecimal, words[4:])):
            raise BadInput(f"line {number}: found {line[:60]!r}; allowed: Node 0, zone Normal 1 2 3 …")
        counts = [parse_count(word) for word in words[4:]]
        sums = cells.setdefault(parse_count(words[1]), [])
        sums.extend([0] * (len(counts) - len(sums)))
        for order, count in enumerate(counts):
            sums[order] += count
    return {cell: tuple(sums) for cell, sums in sorted(cells.items())}


def possible_pages(blocks: tuple[int, ...], order: int) -> int | None:
    """How many pages of ``1 << order`` base pages the free blocks hold; None when no block is that large."""
    if order >= len(blocks):
        return None
    return sum(count << at - order for at, count in enumerate(blocks) if at >= order)


def _boot_list(text: str, last: int) -> CpuSet:
    try:
        return CpuSet.parse(text.replace("all", "0-N").replace("N", str(last)))
    except BadInput:
        return CpuSet()  # the kernel ignores such a parameter too, with a line in its log


def _governors(root: Root) -> dict[str, CpuSet]:
    masks: dict[str, int] = {}
    for policy in root.names(f"{_CPU}/cpufreq") or ():
        governor = root.line(f"{_CPU}/cpufreq/{policy}/scaling_governor")
        cpus = root.parsed(f"{_CPU}/cpufreq/{policy}/affected_cpus", _spaced_list)
        if governor and cpus:
            masks[governor] = masks.get(governor, 0) | cpus
    return {governor: CpuSet.of_mask(mask) for governor, mask in sorted(masks.items())}


def _spaced_list(text: str) -> int:
    return parse_cpu_list(",".join(text.split()))


def _idle_states(root: Root, online: CpuSet) -> tuple[IdleState, ...]:
    first = next((cpu for cpu in online if root.names(f"{_CPU}/cpu{cpu}/cpuidle")), None)
    if first is None:
        return ()
    found = []
    for state in root.names(f"{_CPU}/cpu{first}/cpuidle") or ():
        if not (state.startswith("state") and state[5:].isdecimal()):
            continue
        path = f"{_CPU}/cpu{first}/cpuidle/{state}"
        enabled = CpuSet(cpu for cpu in online if root.line(f"{_CPU}/cpu{cpu}/cpuidle/{state}/disable") == "0")
        found.append(
            IdleState(root.line(f"{path}/name") or state, root.parsed(f"{path}/latency", parse_count), enabled)
        )
    return tuple(found)


def _runs(root: Root, name: str) -> bool | None:
    processes = [entry for entry in root.names("proc") or () if entry.isdecimal()]
    if not processes:
        return None
    return any(root.line(f"proc/{process}/comm") == name for process in processes)


def _huge_pages(root: Root) -> tuple[PoolState, ...]:
    blocks = root.parsed("proc/buddyinfo", parse_buddyinfo) or {}
    page_kib = root.stamp()[1] or 4  # as most, for a saved tree that does not tell
    pools = []
    for cell in parse_cell_folders(root.names(NODE) or []):
        folder = f"{NODE}/node{cell}/hugepages"
        for size_kib, total, free in read_huge_pools(root, folder, read_huge_sizes(root, folder)):
            if free is not None:
                order = (size_kib // page_kib).bit_length() - 1
                pools.append(PoolState(cell, size_kib, total, free, possible_pages(blocks.get(cell, ()), order)))
    return tuple(pools)


def _cgroups(root: Root) -> Cgroups:
    base, names = _CGROUP, ["cpuset.cpus.effective"]
    version = 2
    if root.read(f"{_CGROUP}/cgroup.controllers") is None:
        version, base, names = 1, f"{_CGROUP}/cpuset", ["cpuset.effective_cpus", "cpuset.cpus"]
        if root.names(base) is None:
            return Cgroups()

    def cpus(group: str) -> CpuSet | None:
        for folder in (f"{base}/{group}", base):
            for name in names:
                mask = root.parsed(f"{folder}/{name}", parse_cpu_list)
                if mask is not None:
                    return CpuSet.of_mask(mask)
        return None

    guest = next((group for group in _GUEST_GROUPS if root.names(f"{base}/{group}") is not None), _GUEST_GROUPS[0])
    return Cgroups(version, guest, cpus(guest), cpus("system.slice"))
