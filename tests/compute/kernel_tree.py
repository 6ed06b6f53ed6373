"""Interrupts and switches of pCPUs: this machine's, and a small tree for what it has not or must not be asked for."""

from pathlib import Path

from agent.compute.kernel_files import KernelRefused, write_value
from agent.inspection.files import Root
from agent.inspection.interrupts import read_irqs

LIST = "proc/irq/{}/smp_affinity_list"
DEFAULT = "proc/irq/default_smp_affinity"

INTERRUPTS = """           CPU0       CPU1       CPU2       CPU3
  24:          7          0          0          0 PCI-MSIX-0000:00:02.0   0-edge      eth0-rx
  25:          0          9          0          0 PCI-MSIX-0000:00:03.0   0-edge      vfio-msix[0](0000:00:03.0)
  26:          0          0          3          0 PCI-MSIX-0000:00:04.0   0-edge      nvme0q1
 NMI:          0          0          0          0 Non-maskable interrupts
"""


def make_tree(folder: Path, *, affinities: dict[int, str], default: str = "f", boot: str = "b-1") -> Root:
    """Four pCPUs of which 0 cannot go offline, and these interrupts."""
    files = {
        "proc/interrupts": INTERRUPTS,
        "proc/irq/default_smp_affinity": default,
        "proc/sys/kernel/random/boot_id": boot,
        "sys/devices/system/cpu/online": "0-3",
        **{f"proc/irq/{number}/smp_affinity_list": text for number, text in affinities.items()},
        **{f"sys/devices/system/cpu/cpu{cpu}/online": "1" for cpu in (1, 2, 3)},
        **{f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": "ondemand" for cpu in range(4)},
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return Root(str(folder))


def refusing(*names: str, for_good: bool = True) -> object:
    """``write_value`` of a kernel that refuses every file with one of these names in its path, and counts how often."""
    asked: list[str] = []

    def write(root: Root, file: str, text: str) -> None:
        if any(name in file for name in names):
            asked.append(file)
            raise KernelRefused(root.prefix + file, text, "Operation not permitted", for_good=for_good)
        write_value(root, file, text)

    write.asked = asked  # type: ignore[attr-defined]
    return write


def allowed(root: Root) -> dict[int, str]:
    """Interrupt → the pCPUs that it may land on."""
    return {irq.number: str(irq.allowed) for irq in read_irqs(root) or ()}


def can_move(number: int) -> bool:
    """Whether the kernel lets anybody say where this machine's interrupt lands; it is told what holds already."""
    file = Path("/", LIST.format(number))
    try:
        file.write_text(file.read_text())
    except OSError:
        return False
    return True


def put_back(before: dict[int, str], default: str) -> None:
    """This machine's interrupts as they were, whatever a test left."""
    root = Root()
    for file, text in {**{LIST.format(number): text for number, text in before.items()}, DEFAULT: default}.items():
        if root.line(file) != text:
            Path("/", file).write_text(text + "\n")
