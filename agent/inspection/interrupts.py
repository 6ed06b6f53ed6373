"""Which interrupts land on which pCPUs: /proc/interrupts and /proc/irq.

The kernel's document is Documentation/core-api/irq/irq-affinity.rst.
"""

from __future__ import annotations

from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedIrq
from agent.inspection.files import Root
from agent.inspection.values import is_number

DEFAULT_AFFINITY = "proc/irq/default_smp_affinity"
"""The pCPUs that an interrupt may land on when its driver asks for it; a mask, never a list."""


def affinity_file(number: int) -> str:
    """The file, below a Root, that has the pCPUs on which an interrupt may land; root may write a CPU list to it.

    The kernel refuses (EIO, EPERM since Linux 6.12) for an interrupt that it manages itself or that is one pCPU's.
    """
    return f"proc/irq/{number}/smp_affinity_list"


def read_default_affinity(root: Root) -> str | None:
    """The text of the mask for new interrupts; None where there is no such file."""
    return root.line(DEFAULT_AFFINITY)


def parse_interrupts(text: str) -> dict[int, tuple[str, dict[int, int]]]:
    """/proc/interrupts: number → name and how often each pCPU got it; only pCPUs that did.

    The columns are the online pCPUs that the first line names.  Rows without a number (LOC, RES …) belong to every
    pCPU by design and are left out.
    """
    lines = text.splitlines()
    heads = lines[0].split() if lines else []
    cpus = [int(word[3:]) for word in heads if word.startswith("CPU") and is_number(word[3:])]
    found = {}
    for line in lines[1:]:
        number, colon, rest = line.partition(":")
        words = rest.split()
        number = number.strip(" ")
        if not colon or not is_number(number):
            continue
        counts = {cpu: int(word) for cpu, word in zip(cpus, words, strict=False) if is_number(word) and word != "0"}
        found[int(number)] = (" ".join(words[len(cpus) :]), counts)
    return found


def read_irqs(root: Root) -> tuple[ObservedIrq, ...] | None:
    """Every interrupt that may be steered, by number; None when the kernel's tables cannot be read."""
    table = root.parsed("proc/interrupts", parse_interrupts)
    numbers = root.names("proc/irq")
    if table is None or numbers is None:
        return None
    irqs = []
    for number in sorted(int(name) for name in numbers if is_number(name)):
        name, counts = table.get(number, ("", {}))
        if not name:
            continue  # a number without a driver
        irqs.append(
            ObservedIrq(
                number=number,
                name=name,
                allowed=root.parsed(affinity_file(number), CpuSet.parse),
                effective=root.parsed(f"proc/irq/{number}/effective_affinity_list", CpuSet.parse),
                counts=counts,
            )
        )
    return tuple(irqs)
