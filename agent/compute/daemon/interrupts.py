"""Interrupts of this host off the pCPUs that guests own, while ``[agent] irq_steering`` is on.

Every change is in the journal before it is made; it is taken back when the guest goes, when the setting goes, and by
``cellwright undo``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from agent.compute.change import IRQ_STEERING
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.say import Say
from agent.compute.host_values import HostValues
from agent.compute.irqs import Steered, Steering, irqbalance_hint, quiet_pcpus
from agent.compute.usage import Claimant
from agent.core.cpuset import CpuSet
from agent.core.topology import HostTopology
from agent.core.verdict import Finding
from agent.inspection.cpu_power import read_online
from agent.inspection.files import Root
from agent.inspection.process import has_process
from agent.settings.agent import AgentSettings

LOG = logging.getLogger("cellwright.agent")
SHOWN = 6
"""Interrupts named in one line of the log."""


class Interrupts:
    """What this process, or one before it in this boot, has steered.  An interrupt that cannot be is tried once."""

    def __init__(self, tools: Tools, say: Say, root: Root) -> None:
        self._journal = tools.journal
        self._say = say
        self._root = root
        self._values = HostValues(tools.journal, verb=IRQ_STEERING, uri=tools.libvirt.uri, root=root, continued=True)
        self._steering = Steering(self._values, root)
        self._online: CpuSet | None = None
        self.steered = 0
        self.stuck = 0

    def keep(self, settings: AgentSettings, claimants: Collection[Claimant], host: HostTopology) -> tuple[Finding, ...]:
        """Steer, or give back what was steered; the answer is what somebody else has moved meanwhile."""
        if not settings.irq_steering:
            if self._values.held():
                with self._journal.lock():
                    done = self._steering.release()
                if done.returned:
                    LOG.warning("irq_steering is off: %s", _shown("given back", done.returned))
                self._say.once("interrupts", done.failed)
            for what in ("interrupts that stay", "irqbalance"):
                self._say.forget(what)
            self.steered = self.stuck = 0
            return ()
        quiet = quiet_pcpus(claimants, host)
        with self._journal.lock():
            done = self._steering.steer(quiet)
            self.steered, self.stuck = len(self._values.held()), len(done.stuck)
        if done.moved:
            LOG.warning("interrupts off owned pCPU %s: %s", quiet.owned, _shown("moved", done.moved))
        if done.returned:
            LOG.warning("interrupts of pCPUs that no guest owns any more: %s", _shown("given back", done.returned))
        self._say.once("interrupts", done.failed, logging.ERROR)
        stuck = _shown("cannot be moved, their drivers manage them", done.stuck) if done.stuck else ""
        self._say.once("interrupts that stay", stuck, logging.WARNING)
        return self._moved(done, quiet.owned)

    def _moved(self, done: Steered, owned: CpuSet) -> tuple[Finding, ...]:
        online, before = read_online(self._root), self._online
        self._online = online
        if not done.moved and not done.foreign:
            return ()
        balanced = has_process(self._root, "irqbalance")
        self._say.once("irqbalance", irqbalance_hint(owned) if balanced and owned else "", logging.WARNING)
        cause = "irqbalance runs and moved it" if balanced else "somebody wrote its smp_affinity"
        if before is not None and online != before:
            cause = f"pCPUs {online ^ before} went or came, and the kernel or its driver set it anew"
        return tuple(Finding(code="irq-moved", message=line, guest="", cause=cause) for line in done.foreign)


def _shown(what: str, lines: Sequence[str]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"{len(lines)} {what}: {'; '.join(lines[:SHOWN])}{more}"
