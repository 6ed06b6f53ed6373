"""The lab's machines as data, and QEMU's arguments for each.

QEMU without KVM emulates them all, so the machine that runs the tests may have one cell.  A Haswell is what shows the
threads of a core as siblings there; AMD models and ``max`` do not.  Repeated string instructions, which are quick on a
real CPU, go byte by byte under emulation: without them a page is cleared in a quarter of the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

OUTSIDE_NIC = "bus=pcie.0,addr=6,romfile="
CPU = "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid,+pdpe1gb,-erms"


@dataclass(frozen=True)
class LabCell:
    """A cell: its CPUs by QEMU's index (siblings are neighbours) and its memory; ``""`` and 0 are none."""

    cpus: str
    memory_mib: int


@dataclass(frozen=True)
class LabTopology:
    """One machine.  ``distances`` has each pair once; a pair that is missing is 20, as QEMU has it."""

    name: str
    about: str
    sockets: int
    dies: int  # per socket
    cores: int  # per die
    threads: int  # per core
    cells: tuple[LabCell, ...]
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    cpu_order: tuple[int, ...] = ()  # APIC ids in the order in which Linux shall number them; () leaves QEMU's
    latency_ns: Mapping[tuple[int, int], int] = field(default_factory=dict)  # (from cell, to cell): an HMAT says so
    bandwidth_mib: Mapping[tuple[int, int], int] = field(default_factory=dict)
    nics: bool = False  # a network card behind a PCI root of each cell's own
    outside: bool = False  # a network of its own on which 10.0.2.2 is the computer that runs the tests
    kernel: str = ""  # more of the kernel's command line
    bare: bool = True  # boots without udev, journald and libvirtd, in a third of the time

    @property
    def cpus(self) -> int:
        return self.sockets * self.dies * self.cores * self.threads

    def render_qemu(self) -> list[str]:
        """The machine as arguments of qemu-system-x86_64."""
        memory = sum(cell.memory_mib for cell in self.cells)
        smp = f"{self.cpus},sockets={self.sockets},dies={self.dies},cores={self.cores},threads={self.threads}"
        args = ["-machine", "q35,hmat=on" if self.latency_ns else "q35", "-cpu", CPU, "-smp", smp, "-m", f"{memory}M"]
        for number, cell in enumerate(self.cells):
            args += self.render_cell(number, cell)
        for (here, there), distance in self.distances.items():
            args += ["-numa", f"dist,src={here},dst={there},val={distance}"]
        for data, unit, values in (("latency", "", self.latency_ns), ("bandwidth", "M", self.bandwidth_mib)):
            for (here, there), value in values.items():
                where = f"hmat-lb,initiator={here},target={there},hierarchy=memory"
                args += ["-numa", f"{where},data-type=access-{data},{data}={value}{unit}"]
        if self.nics:
            args += [word for number in range(len(self.cells)) for word in render_nic(number)]
        if self.outside:
            args += ["-netdev", "user,id=outside,ipv6=off", "-device", f"virtio-net-pci,netdev=outside,{OUTSIDE_NIC}"]
        return args

    def render_cell(self, number: int, cell: LabCell) -> list[str]:
        node = f"node,nodeid={number}"
        args = []
        if cell.memory_mib:
            args += ["-object", f"memory-backend-ram,id=m{number},size={cell.memory_mib}M"]
            node += f",memdev=m{number}"
        if cell.cpus:
            node += "".join(f",cpus={part}" for part in cell.cpus.split(","))
        if self.latency_ns:
            node += f",initiator={number if cell.cpus else 0}"
        return [*args, "-numa", node]


def render_nic(cell: int) -> list[str]:
    """A PCI root that says it is at the cell, and a network card behind it that no network answers."""
    return [
        *("-device", f"pxb-pcie,id=pxb{cell},bus=pcie.0,bus_nr={64 + 64 * cell},numa_node={cell},addr={16 + cell}"),
        *("-device", f"pcie-root-port,id=port{cell},bus=pxb{cell},chassis={11 + cell},slot={cell}"),
        *("-netdev", f"user,id=net{cell},restrict=on"),
        *("-device", f"virtio-net-pci,netdev=net{cell},bus=port{cell},mac=52:54:00:00:0{cell}:01,romfile="),
    ]


TWO = (LabCell("0-3", 1536), LabCell("4-7", 1536))
APART = {(0, 1): 21}
WITH_FAR_MEMORY = (*TWO, LabCell("", 1024))
FAR = {(0, 1): 21, (0, 2): 17, (1, 2): 28}

ALL = (
    LabTopology(
        "2n", "two sockets, a cell each; siblings are neighbours", 2, 1, 2, 2, TWO, APART, outside=True, bare=False
    ),
    LabTopology(
        "2n-htsplit",
        "the same, siblings are i and i+4 as on most servers",
        *(2, 1, 2, 2),
        TWO,
        APART,
        cpu_order=(0, 2, 4, 6, 1, 3, 5, 7),
    ),
    LabTopology(
        "2n-interleaved",
        "siblings are i and i+4, and the cells alternate",
        *(2, 1, 2, 2),
        TWO,
        APART,
        cpu_order=(0, 4, 2, 6, 1, 5, 3, 7),
    ),
    LabTopology("nosmt", "two sockets of four cores without siblings", 2, 1, 4, 1, TWO, APART),
    LabTopology(
        "4n",
        "two sockets of two dies, each die a cell: a near and two far neighbours",
        *(2, 2, 2, 2),
        (LabCell("0-3", 1024), LabCell("4-7", 1024), LabCell("8-11", 1024), LabCell("12-15", 1024)),
        {(0, 1): 12, (0, 2): 21, (0, 3): 21, (1, 2): 21, (1, 3): 21, (2, 3): 12},
    ),
    LabTopology(
        "4s",
        "four sockets in a ring: the opposite one is two hops away",
        *(4, 1, 1, 2),
        tuple(LabCell(f"{first}-{first + 1}", 768) for first in (0, 2, 4, 6)),
        {(0, 1): 20, (0, 2): 30, (0, 3): 20, (1, 2): 20, (1, 3): 30, (2, 3): 20},
    ),
    LabTopology(
        "2d",
        "two sockets of two dies; a cell is a socket",
        *(2, 2, 1, 2),
        TWO,
        APART,
    ),
    LabTopology("2n-memonly", "a third cell has memory and no CPU", 2, 1, 2, 2, WITH_FAR_MEMORY, FAR),
    LabTopology(
        "2n-memless",
        "the second cell has CPUs and no memory",
        *(2, 1, 2, 2),
        (LabCell("0-3", 3072), LabCell("4-7", 0)),
        APART,
    ),
    LabTopology(
        "2n-hmat",
        "the third cell is slow memory, and the firmware says how slow",
        *(2, 1, 2, 2),
        WITH_FAR_MEMORY,
        FAR,
        latency_ns={(0, 0): 10, (0, 1): 20, (0, 2): 50, (1, 0): 20, (1, 1): 10, (1, 2): 70},
        bandwidth_mib={(0, 0): 10240, (0, 1): 5120, (0, 2): 1024, (1, 0): 5120, (1, 1): 10240, (1, 2): 512},
    ),
    LabTopology(
        "2n-cgroup1",
        "as 2n, with the cgroups of before version 2: each controller has a tree of its own",
        *(2, 1, 2, 2),
        TWO,
        APART,
        kernel="systemd.unified_cgroup_hierarchy=0",
        bare=False,
    ),
    LabTopology("2n-pci", "a network card at each cell", 2, 1, 2, 2, TWO, APART, nics=True),
    LabTopology(
        "8n",
        "two sockets of four dies, each die a cell of one CPU",
        *(2, 4, 1, 1),
        tuple(LabCell(str(number), 384) for number in range(8)),
        {(a, b): 12 if a // 4 == b // 4 else 32 for a in range(8) for b in range(a + 1, 8)},
    ),
    LabTopology(
        "isolated",
        "CPUs 2-3 and 6-7 are taken from the scheduler, and the kernel line asks for pages of 1 GiB",
        *(2, 1, 2, 2),
        (LabCell("0-3", 3072), LabCell("4-7", 3072)),
        APART,
        kernel="isolcpus=2-3,6-7 nohz_full=2-3,6-7 hugepagesz=1G hugepages=0:1,1:1",
    ),
)

TOPOLOGIES = {topology.name: topology for topology in ALL}
