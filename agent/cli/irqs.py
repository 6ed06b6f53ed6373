"""``cellwright repair --irqs``: interrupts off the guests' own pCPUs, once; ``cellwright undo`` takes it back."""

from __future__ import annotations

from argparse import Namespace

from agent.cli.connect import changing, say
from agent.cli.hosts import load_host
from agent.compute.host_values import HostValues
from agent.compute.irqs import NOWHERE, Steering, irqbalance_hint, name_of, name_of_file, quiet_pcpus
from agent.compute.usage import read_claimants
from agent.core.errors import FINDINGS, CellwrightError
from agent.inspection.files import Root
from agent.inspection.interrupts import affinity_file
from agent.inspection.process import has_process


def run_irqs(args: Namespace) -> int:
    """Move them, and print a line an interrupt; a dry run says what would move."""
    root, host = Root(), load_host(args)
    with changing(args) as (libvirt, journal):
        for name in args.domains:
            libvirt.domain(name)  # NoSuchDomain says which there are
        quiet = quiet_pcpus(read_claimants(libvirt, host), host, names=args.domains or None)
        values = HostValues(journal, verb="repair", uri=libvirt.uri, root=root, continued=False)
        steering = Steering(values, root)
        if not quiet.owned:
            print("no guest owns a pCPU: interrupts may land anywhere")
            return 0
        if quiet.nowhere:
            raise CellwrightError(NOWHERE)
        if args.dry_run:
            irqs, wanted = steering.plan(quiet)
            names = {affinity_file(irq.number): f"{name_of(irq)}: {irq.allowed}" for irq in irqs.values()}
            for file, text in wanted.items():
                print(f"{names.get(file, name_of_file(file))} -> {text} would be moved")
            return FINDINGS if wanted else 0
        done = steering.steer(quiet)
    for line in done.moved:
        print(line)
    for line in done.stuck:
        print(f"{line}: the kernel moves it for nobody (managed by its driver: boot with isolcpus=managed_irq,…)")
    if done.moved and has_process(root, "irqbalance"):
        say(irqbalance_hint(quiet.owned))
    if done.failed:
        raise CellwrightError(done.failed)
    if not done.moved and not done.stuck:
        print(f"no interrupt lands on owned pCPU {quiet.owned}")
    return FINDINGS if done.stuck else 0
