"""Interrupts kept off the pCPUs that guests own: which may stay where they are, which move where, which cannot.

The kernel's document is Documentation/core-api/irq/irq-affinity.rst.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from agent.compute.host_values import HostValues, Written
from agent.compute.kernel_files import KernelValue
from agent.compute.usage import Claimant
from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedIrq
from agent.core.topology import HostTopology
from agent.inspection.files import Root
from agent.inspection.interrupts import DEFAULT_AFFINITY, affinity_file, read_default_affinity, read_irqs

NOWHERE = "guests own every pCPU: interrupts have nowhere else to go"


class Quiet(msgspec.Struct, frozen=True):
    """Where interrupts may not land (``owned``) and where those go that may land nowhere else (``spare``).

    ``own`` has the pCPUs of the guest that a PCI device was given to: its interrupts are that guest's own affair.
    ``nowhere``: guests own every pCPU, so that nothing can be moved.
    """

    owned: CpuSet
    spare: CpuSet
    own: Mapping[str, CpuSet] = {}
    nowhere: bool = False


class Steered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it, as lines for people; ``stuck`` are interrupts on owned pCPUs that the kernel moves for nobody.

    ``failed`` is why the others could not be moved, "" when they could.
    """

    moved: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    failed: str = ""


def quiet_pcpus(claimants: Collection[Claimant], host: HostTopology, *, names: Collection[str] | None = None) -> Quiet:
    """The pCPUs that these guests own; spare are those that no guest may own, else those that none does."""
    held = CpuSet(cpu for one in claimants for cpu in one.placement.owned())
    owned = CpuSet(cpu for one in claimants if names is None or one.name in names for cpu in one.placement.owned())
    devices = {device.pci: one.placement.owned() for one in claimants for device in one.placement.devices if device.pci}
    dedicated = host.dedicated_set or CpuSet()
    return Quiet(owned, (host.online - dedicated - held) or (host.online - held), devices, owned >= host.online)


def plan_irqs(
    irqs: Sequence[ObservedIrq],
    default: str | None,
    quiet: Quiet,
    *,
    held: Mapping[str, KernelValue],
    stuck: Collection[tuple[int, str]] = (),
) -> dict[str, str]:
    """File → text that it should hold, without those that may stay as they were before we came.

    An interrupt keeps what it was allowed, less what guests own; one that is left with nothing goes to the spare
    pCPUs.  ``held`` is what we changed before; ``stuck`` are (number, name) that the kernel refused already.
    """
    wanted = {}
    for irq in irqs:
        file = affinity_file(irq.number)
        if irq.allowed is None or (irq.number, irq.name) in stuck:
            continue
        before = held.get(file)
        was = CpuSet.parse(before.before) if before and before.after == str(irq.allowed) else irq.allowed
        target = _without(was, quiet.owned - _own(irq.name, quiet), quiet.spare)
        if target != was:
            wanted[file] = str(target)
    if default is not None:
        before = held.get(DEFAULT_AFFINITY)
        text = before.before if before and before.after == default else default
        was = CpuSet.from_mask(text)
        target = _without(was, quiet.owned, quiet.spare)
        if target != was:
            wanted[DEFAULT_AFFINITY] = render_mask(target, like=text)
    return wanted


def render_mask(cpus: CpuSet, *, like: str) -> str:
    """A mask as the kernel writes it: as many hexadecimal digits as ``like``, in groups of eight from the right.

    >>> render_mask(CpuSet([0, 33]), like="ff,ffffffff")
    '02,00000001'
    """
    digits = f"{cpus.mask:0{len(like.replace(',', ''))}x}"
    first = len(digits) % 8
    groups = [digits[:first]] * bool(first) + [digits[at : at + 8] for at in range(first, len(digits), 8)]
    return ",".join(groups)


class Steering:
    """Interrupts of one host, steered again and again; an interrupt that the kernel refuses is tried once."""

    def __init__(self, values: HostValues, root: Root) -> None:
        self._values = values
        self._root = root
        self._stuck: set[tuple[int, str]] = set()

    def plan(self, quiet: Quiet) -> tuple[dict[int, ObservedIrq], dict[str, str]]:
        """The interrupts that there are, and what their files should hold."""
        irqs = read_irqs(self._root) or ()
        default = read_default_affinity(self._root)
        wanted = plan_irqs(irqs, default, quiet, held=self._values.held(), stuck=self._stuck)
        return {irq.number: irq for irq in irqs}, wanted

    def steer(self, quiet: Quiet) -> Steered:
        """Write what is planned, put back what need not be so any more.  Call it with the journal locked."""
        irqs, wanted = self.plan(quiet)
        names = {affinity_file(number): name_of(irq) for number, irq in irqs.items()}
        written = self._values.settle(wanted, detail=f"interrupts kept off pCPU {quiet.owned}")
        for irq in irqs.values():
            refused = written.refused.get(affinity_file(irq.number))
            if refused is not None and refused.for_good:
                self._stuck.add((irq.number, irq.name))
        return _steered(written, names, self._stuck_on(irqs, quiet), nowhere=quiet.nowhere)

    def release(self) -> Steered:
        """Put everything back."""
        written = self._values.settle({})
        return _steered(written, {}, ())

    def _stuck_on(self, irqs: Mapping[int, ObservedIrq], quiet: Quiet) -> tuple[str, ...]:
        lines = []
        for irq in irqs.values():
            target = irq.effective if irq.effective is not None else irq.allowed
            on = (target or CpuSet()) & (quiet.owned - _own(irq.name, quiet))
            if on and (irq.number, irq.name) in self._stuck:
                lines.append(f"{name_of(irq)} stays on owned pCPU {on}")
        return tuple(lines)


def _steered(written: Written, names: Mapping[str, str], stuck: tuple[str, ...], *, nowhere: bool = False) -> Steered:
    """What was written, as lines that name each interrupt."""

    def line(value: KernelValue, was: str, now: str) -> str:
        return f"{names.get(value.file, name_of_file(value.file))}: {was} -> {now}"

    rights = [str(why) for why in written.refused.values() if not why.for_good]
    failed = f"{len(rights)} interrupts cannot be moved: {rights[0]}" if rights else ""
    return Steered(
        moved=tuple(line(value, value.before, value.after) for value in written.changed),
        returned=tuple(line(value, value.after, value.before) for value in written.restored),
        foreign=tuple(line(value, value.after, text) for value, text in written.foreign),
        stuck=stuck,
        failed=failed or (NOWHERE if nowhere else ""),
    )


def name_of(irq: ObservedIrq) -> str:
    """How a message names an interrupt: by its number and the last word of its line, which is the driver's."""
    return f"IRQ {irq.number} ({irq.name.split()[-1] if irq.name else ''})"


def name_of_file(file: str) -> str:
    """The same where only the file is known."""
    return "the default for new interrupts" if file == DEFAULT_AFFINITY else f"IRQ {file.split('/')[-2]}"


def irqbalance_hint(owned: CpuSet) -> str:
    """What to tell an operator on whose host irqbalance runs."""
    return (
        f"irqbalance runs and will move interrupts back: echo IRQBALANCE_BANNED_CPULIST={owned}"
        " >> /etc/default/irqbalance && systemctl restart irqbalance"
    )


def _own(name: str, quiet: Quiet) -> CpuSet:
    return CpuSet(cpu for pci, cpus in quiet.own.items() if pci in name for cpu in cpus)


def _without(was: CpuSet, owned: CpuSet, spare: CpuSet) -> CpuSet:
    if not was & owned:
        return was
    return (was - owned) or spare or was
