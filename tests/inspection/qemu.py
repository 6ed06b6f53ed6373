"""A QEMU process as a saved tree: two guest cells of 1 GiB on two host cells, cgroup version 1 or 2."""

PID = 4000
CELL_KIB = 1 << 20

SCOPE = "/machine.slice/machine-qemu\\x2d1\\x2ddb.scope"
COMMAND_LINE = "\0".join(
    [
        *("/usr/bin/qemu-system-x86_64", "-name", "guest=db,debug-threads=on", "-m", "size=2097152k"),
        *("-object", '{"qom-type":"iothread","id":"iothread1"}'),
        "-object",
        '{"qom-type":"memory-backend-ram","id":"ram-node0","size":1073741824,"host-nodes":[0],"policy":"bind"}',
        *("-numa", "node,nodeid=0,cpus=0,memdev=ram-node0"),
        "-object",
        '{"qom-type":"memory-backend-ram","id":"ram-node1","size":1073741824,"host-nodes":[1],"policy":"bind"}',
        *("-numa", "node,nodeid=1,cpus=1,memdev=ram-node1"),
        *("-device", '{"driver":"virtio-scsi-pci","id":"scsi0"}', ""),
    ]
)
MAPS = """\
55d000000000-55d000400000 r-xp 00000000 fe:00 11 /usr/bin/qemu-system-x86_64
7f0000000000-7f0040000000 rw-p 00000000 00:00 0
7f0080000000-7f00a0000000 rw-p 00000000 00:00 0
7f00a0000000-7f00c0000000 rw-p 00000000 00:00 0
7f00d0000000-7f00d0021000 rw-p 00000000 00:00 0
7f00d0021000-7f00d4000000 ---p 00000000 00:00 0
"""
NUMA_MAPS = """\
55d000000000 default file=/usr/bin/qemu-system-x86_64 mapped=900 mapmax=2 active=880 N0=900 kernelpagesize_kB=4
7f0000000000 bind:1 anon=260000 dirty=260000 active=0 N0=1000 N1=259000 kernelpagesize_kB=4
7f0080000000 bind:0 anon=131072 dirty=131072 active=0 N0=131072 kernelpagesize_kB=4
7f00a0000000 bind:0 anon=10 dirty=10 active=0 N0=10 kernelpagesize_kB=4
7f00d0000000 default anon=33 dirty=33 active=0 N0=30 N1=3 kernelpagesize_kB=4
7f00d0021000 default
"""
THREADS = {
    # tid: name, cgroup leaf, pCPUs, last pCPU
    4000: ("qemu-system-x86", "emulator", "0-3", 2),
    4001: ("call_rcu", "emulator", "0-3", 3),
    4002: ("IO iothread1", "iothread1", "2", 2),
    4003: ("worker", "iothread1", "2", 2),
    4004: ("CPU 0/KVM", "vcpu0", "4", 4),
    4005: ("CPU 1/KVM", "vcpu1", "12", 12),
    4006: ("vhost-4000", "emulator", "0-3", 1),
}


def stat(tid: int, name: str, last_cpu: int, *, flags: int = 0, priority: int = 0, policy: int = 0) -> str:
    fields = ["S", "1", "1", "1", "0", "-1", str(flags), *["0"] * 29, str(last_cpu), str(priority), str(policy)]
    return f"{tid} ({name}) {' '.join(fields)} 0 0\n"


def status(name: str, cpus: str, mems: str = "0-1", *, kernel: bool = False) -> str:
    return f"Name:\t{name}\nKthread:\t{int(kernel)}\nCpus_allowed_list:\t{cpus}\nMems_allowed_list:\t{mems}\n"


def qemu(version: int = 2) -> dict[str, str | bytes]:
    """The files of the process; ``version`` is that of the cgroups."""
    files: dict[str, str | bytes] = {
        "sys/devices/system/cpu/online": "0-15\n",
        "sys/devices/system/cpu/present": "0-15\n",
        "sys/devices/system/cpu/isolated": "4-15\n",
        f"proc/{PID}/cmdline": COMMAND_LINE,
        f"proc/{PID}/maps": MAPS,
        f"proc/{PID}/numa_maps": NUMA_MAPS,
        f"proc/{PID}/comm": "qemu-system-x86\n",
    }
    base = "sys/fs/cgroup/cpuset" if version == 1 else "sys/fs/cgroup"
    effective = "cpuset.effective_cpus" if version == 1 else "cpuset.cpus.effective"
    scope = SCOPE if version == 1 else SCOPE + "/libvirt"
    line = "0::" if version == 2 else "9:cpu:/x\n4:cpuset:"
    files |= {f"{base}{SCOPE}/cpuset.cpus": "\n", f"{base}{SCOPE}/{effective}": "0-15\n"}
    for tid, (name, leaf, cpus, last_cpu) in THREADS.items():
        folder = f"proc/{PID}/task/{tid}"
        files |= {
            f"{folder}/status": status(name, cpus),
            f"{folder}/stat": stat(tid, name, last_cpu),
            f"{folder}/schedstat": f"1000 {tid * 1000} 7\n",
            f"{folder}/cgroup": f"{line}{scope}/{leaf}\n",
            f"{base}{scope}/{leaf}/cpuset.cpus": f"{cpus}\n",
            f"{base}{scope}/{leaf}/{effective}": f"{cpus}\n",
            f"{base}{scope}/{leaf}/cpuset.mems": "0-1\n",
        }
    files[f"proc/{PID}/cgroup"] = files[f"proc/{PID}/task/{PID}/cgroup"]
    return files
