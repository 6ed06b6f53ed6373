"""Small saved trees, written where a test needs one."""

from pathlib import Path

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"
BUDDY = """\
Node 0, zone    DMA32   1   0   0   0   0   0   0   0   0   2   3
Node 0, zone   Normal   9   9   9   9   9   9   9   9   9   1   1
"""


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """The files below ``folder``, made as they are named."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def two_cells() -> dict[str, str | bytes]:
    """Two sockets of two cores of two threads, a cell each; siblings i and i+4; CPU 7 offline."""
    files: dict[str, str | bytes] = {
        f"{CPU}/online": "0-6\n",
        f"{CPU}/present": "0-7\n",
        f"{CPU}/isolated": "\n",
        f"{CPU}/nohz_full": "(null)\n",
        "proc/cpuinfo": "processor: 0\nvendor_id: GenuineIntel\nmodel name: Named\ncpuid level: 22\nflags: fpu lm\n",
        "proc/self/status": "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n",
        f"{NODE}/online": "0-1\n",
        f"{NODE}/node0/distance": "10 21\n",
        f"{NODE}/node1/distance": "21 10\n",
    }
    for cpu in range(8):
        files[f"{CPU}/cpu{cpu}/online"] = "0\n" if cpu == 7 else "1\n"
        if cpu == 7:
            continue
        core = cpu % 4
        siblings = str(core) if core == 3 else f"{core},{core + 4}"
        socket = core // 2
        members = "0-1,4-5" if socket == 0 else "2-3,6"
        topology = {
            "core_id": core % 2,
            "physical_package_id": socket,
            "thread_siblings_list": siblings,
            "core_siblings_list": members,
            "die_id": 0,
            "die_cpus_list": members,
        }
        files |= {f"{CPU}/cpu{cpu}/topology/{name}": f"{value}\n" for name, value in topology.items()}
        cache = {"level": 3, "type": "Unified", "size": "32768K", "shared_cpu_list": members}
        files |= {f"{CPU}/cpu{cpu}/cache/index0/{name}": f"{value}\n" for name, value in cache.items()}
    for cell, cpus in enumerate(("0-1,4-5", "2-3,6-7")):
        folder = f"{NODE}/node{cell}"
        files[f"{folder}/cpulist"] = cpus + "\n"
        files[f"{folder}/meminfo"] = f"Node {cell} MemTotal: 4194304 kB\nNode {cell} MemFree: 1048576 kB\n"
        files[f"{folder}/hugepages/hugepages-2048kB/nr_hugepages"] = "512\n"
        files[f"{folder}/hugepages/hugepages-2048kB/free_hugepages"] = "100\n"
    return files


def with_knobs() -> dict[str, str | bytes]:
    """Every knob of a host with pCPUs 0-3, 2-3 of them isolated."""
    files: dict[str, str | bytes] = {
        "proc/cmdline": "root=/dev/vda isolcpus=domain,managed_irq,2-N nohz_full=2-3 rcu_nocbs=all irqaffinity=0-1\n",
        "proc/sys/vm/zone_reclaim_mode": "0\n",
        "proc/sys/kernel/numa_balancing": "1\n",
        "proc/buddyinfo": BUDDY,
        "proc/1/comm": "systemd\n",
        "proc/712/comm": "irqbalance\n",
        "sys/kernel/mm/ksm/run": "1\n",
        "sys/kernel/mm/ksm/merge_across_nodes": "0\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "etc/tuned/active_profile": "virtual-host\n",
        f"{CPU}/smt/control": "on\n",
        f"{CPU}/vulnerabilities/l1tf": "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable\n",
        f"{CPU}/vulnerabilities/meltdown": "Not affected\n",
        f"{CPU}/cpufreq/policy0/scaling_governor": "performance\n",
        f"{CPU}/cpufreq/policy0/affected_cpus": "0 1\n",
        f"{CPU}/cpufreq/policy2/scaling_governor": "powersave\n",
        f"{CPU}/cpufreq/policy2/affected_cpus": "2 3\n",
        f"{NODE}/node0/hugepages/hugepages-2048kB/nr_hugepages": "8\n",
        f"{NODE}/node0/hugepages/hugepages-2048kB/free_hugepages": "3\n",
        f"{NODE}/node0/hugepages/hugepages-1048576kB/nr_hugepages": "0\n",
        f"{NODE}/node0/hugepages/hugepages-1048576kB/free_hugepages": "0\n",
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory\n",
        "sys/fs/cgroup/cpuset.cpus.effective": "0-3\n",
        "sys/fs/cgroup/machine.slice/cgroup.procs": "",
        "sys/fs/cgroup/system.slice/cpuset.cpus.effective": "0-1\n",
    }
    for cpu in range(4):
        for state, (name, latency) in enumerate((("POLL", 0), ("C6", 133))):
            folder = f"{CPU}/cpu{cpu}/cpuidle/state{state}"
            files[f"{folder}/name"], files[f"{folder}/latency"] = name + "\n", f"{latency}\n"
            files[f"{folder}/disable"] = "1\n" if state and cpu > 1 else "0\n"
    return files
