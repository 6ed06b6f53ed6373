"""Small saved trees, written where a test needs one."""

from pathlib import Path

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


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
