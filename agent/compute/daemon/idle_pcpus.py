"""Idle dedicated pCPUs asleep, or slow, while ``[agent] cpu_power_management`` is on: see ``agent.compute.power``.

Every change is in the journal before it is made; it is taken back when a guest comes, when the setting goes, and by
``cellwright undo``.  An agent that ends in an orderly way wakes all, because nobody else would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from agent.compute.change import CPU_POWER
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.say import Say
from agent.compute.host_values import HostValues
from agent.compute.power import given_pcpus, managed_pcpus, plan_power, with_asleep
from agent.compute.usage import Claimant
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.topology import HostTopology
from agent.core.verdict import Finding
from agent.inspection.cpu_power import cpu_switched_by, forgets_pcpus, governor_file, online_file, read_online
from agent.inspection.files import Root
from agent.inspection.masks import read_masks
from agent.settings.agent import AgentSettings

LOG = logging.getLogger("cellwright.agent")


class IdlePcpus:
    """What this process, or one before it in this boot, put to sleep; and how the host looks with all awake."""

    def __init__(self, tools: Tools, say: Say, root: Root) -> None:
        self._journal = tools.journal
        self._say = say
        self._root = root
        self._values = HostValues(tools.journal, verb=CPU_POWER, uri=tools.libvirt.uri, root=root, continued=True)
        self._whole: HostTopology | None = None
        self._taken = CpuSet()
        """pCPUs that somebody else woke: they stay on until a guest had them."""
        self.asleep = CpuSet()

    def complete(self, read: Callable[[], HostTopology]) -> HostTopology:
        """The host as if all that sleeps ran.

        Where it is not known how it looks then, all are woken first: after a restart of the agent, or when pCPUs came
        or went that it did not touch.
        """
        host = read()
        asleep = self._held() & host.offline
        if asleep and (self._whole is None or host.online | asleep != self._whole.online):
            try:
                with self._journal.lock():
                    self.wake(asleep)
            except CellwrightError as why:
                LOG.error("%s; the scheduler is told that it is offline", why)
                return host
            host, asleep = read(), CpuSet()
        if asleep and self._whole is not None:
            return with_asleep(host, self._whole, asleep)
        self._whole = host
        return host

    def keep(
        self,
        settings: AgentSettings,
        claimants: Collection[Claimant],
        host: HostTopology,
        *,
        pids: Mapping[str, int | None],
        defined: CpuSet,
    ) -> tuple[Finding, ...]:
        """Put to sleep what nobody may run on and wake the rest; the answer is what somebody else has changed.

        ``defined`` are the pCPUs of guests that do not run now: somebody may start them without asking us.
        """
        why_not = self._why_not(settings, host)
        self._say.once("cpu_power_management", why_not)
        used = given_pcpus(claimants, host) | self._seen(pids)
        self._taken = (self._taken | self._held() & read_online(self._root)) - used
        wanted = {} if why_not else plan_power(settings, host, used=used, awake=self._taken | defined)
        if not wanted and not self._values.held():
            return ()
        with self._journal.lock():
            done = self._values.settle(wanted, detail=f"of {managed_pcpus(host)}, guests use {used}")
        self.asleep = self._held()
        if done.changed or done.restored:
            written = len(done.changed) + len(done.restored)
            LOG.warning("cpu power management: wrote %d files; asleep are pCPUs %s", written, self.asleep or "none")
        self._say.once("cpu power", "; ".join(str(why) for why in done.refused.values())[:500])
        return tuple(
            Finding(code="power-changed", message=f"somebody wrote {text} to /{value.file}", guest="")
            for value, text in done.foreign
        )

    def wake(self, cpus: CpuSet) -> None:
        """Have these pCPUs run; CellwrightError when one does not come up.  Call it with the journal locked."""
        files = {online_file(cpu) for cpu in cpus & self._held()}
        if files:
            kept = {file: value.after for file, value in self._values.held().items() if file not in files}
            refused = self._values.settle(kept).refused
            if refused:
                raise CellwrightError(f"a pCPU that sleeps does not wake: {next(iter(refused.values()))}")

    def wake_all(self) -> None:
        """Have all run that sleep: the agent ends."""
        if asleep := self._held():
            with self._journal.lock():
                self.wake(asleep)
            LOG.warning("woke pCPUs %s", asleep)

    def _held(self) -> CpuSet:
        """The pCPUs that we took offline; somebody may have brought one back since."""
        cpus = (cpu_switched_by(file) for file in self._values.held())
        return CpuSet(cpu for cpu in cpus if cpu is not None)

    def _seen(self, pids: Mapping[str, int | None]) -> CpuSet:
        """Every pCPU that the kernel lets some thread of a running guest use."""
        masks = [read_masks(self._root, pid) or {} for pid in pids.values() if pid is not None]
        return CpuSet(cpu for threads in masks for cpus in set(threads.values()) for cpu in cpus)

    def _why_not(self, settings: AgentSettings, host: HostTopology) -> str:
        if not settings.cpu_power_management:
            return ""
        if not managed_pcpus(host):
            return "cpu_power_management does nothing: [host] cpu_dedicated_set names no pCPU but 0 that is not shared"
        if settings.cpu_power_management_strategy == "cpu_state" and forgets_pcpus(self._root):
            return (
                "cpu_power_management does nothing: with cgroups of version 1 a pCPU that was offline is lost to every"
                " guest's cpuset; boot with systemd.unified_cgroup_hierarchy=1, or choose the strategy governor"
            )
        files = [governor_file(cpu) for cpu in managed_pcpus(host)]
        if settings.cpu_power_management_strategy == "governor" and not any(map(self._root.line, files)):
            return (
                f"cpu_power_management does nothing: there is no /{files[0]}: no cpufreq driver, as in a virtual"
                " machine; choose the strategy cpu_state"
            )
        return ""
