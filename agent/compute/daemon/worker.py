"""The host's side of the agent: reads, reconciles, proves.  One thread, one inbox; nothing here waits for the network
longer than a short call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.compute.daemon import carry_out
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.fits_now import check_now
from agent.compute.daemon.guests import GuestReader, Guests
from agent.compute.daemon.idle_pcpus import IdlePcpus
from agent.compute.daemon.interrupts import Interrupts
from agent.compute.daemon.link import Link
from agent.compute.daemon.log import log_drift, log_outcome, log_removed
from agent.compute.daemon.metrics import render_metrics
from agent.compute.daemon.proof import Prover
from agent.compute.daemon.reconcile import Action, Todo, plan
from agent.compute.daemon.repairs import Repairs
from agent.compute.daemon.say import Say
from agent.compute.daemon.state import AgentState, Known, write_agent_state
from agent.compute.daemon.view import HostView, digest_of, read_facts, read_topology, view_of
from agent.compute.power import named_pcpus
from agent.compute.repair import PAGE_CODES
from agent.compute.usage import sum_usage
from agent.core.errors import CellwrightError, Unreachable
from agent.core.facts import HostFacts
from agent.core.placement import Misfit
from agent.core.topology import HostTopology
from agent.core.verdict import Drift, Verdict
from agent.core.wire import Assignment, Confirmation, Outcome
from agent.inspection.files import Root
from agent.settings.document import Settings

if TYPE_CHECKING:
    from agent.compute.daemon.monitors import CpuMonitor

LOG = logging.getLogger("cellwright.agent")


class Worker:
    """What is known of the host, and the ways to change it.  ``view`` is what reports say; None before the first."""

    def __init__(
        self, tools: Tools, link: Link, settings: Settings, *, state: AgentState, state_file: Path, boot_id: str | None
    ) -> None:
        self.tools = tools
        self.settings = settings
        self.state = state
        self.view: HostView | None = None
        self.guests = Guests()
        self.prover = Prover(tools.libvirt)
        self.repairs = Repairs()
        self.progress: Callable[[], None] = lambda: None
        """Called between steps that may each take long."""
        self._link = link
        self._state_file = state_file
        self._boot_id = boot_id
        self._reader = GuestReader()
        self._monitor: CpuMonitor | None = None
        self._failed_builds = 0
        self._stale = False
        self._reread = False
        self._wrong: set[str] = set()
        self._say = Say()
        self._interrupts = Interrupts(tools, self._say, Root())
        self._idle_pcpus = IdlePcpus(tools, self._say, Root())
        self._interrupted = True  # by what ended the process before us, for all we know

    def change_settings(self, settings: Settings) -> None:
        """Take other settings; the connection and the state's place stay as they were at the start."""
        self.settings = settings
        self.tools = msgspec.structs.replace(self.tools, settings=settings.agent)

    # ---------------------------------------------------------------- reading

    def read_all(self) -> None:
        """Topology, facts and guests anew."""
        host = self._read_host()
        facts = read_facts(self.tools.libvirt, self.settings, host)
        if self.settings.agent.compute_monitors:
            from agent.compute.daemon.monitors import CpuMonitor  # psutil takes memory that most agents need not have

            self._monitor = self._monitor or CpuMonitor()
            facts = msgspec.structs.replace(facts, metrics=self._monitor.read())
        self._read_guests(host, facts)
        self.prover.look_closely()
        self._reread = True

    def read_guests(self) -> bool:
        """Guests anew, on the topology that is known; whether one of the scheduler's came, went, started or stopped."""
        before = self.guests.own
        if self.view is None:
            self.read_all()
            return True
        self._read_guests(self.view.topology, self.view.facts)
        return self.guests.own != before

    def _read_host(self) -> HostTopology:
        """The topology now."""
        host, wrong = read_topology(self.settings, complete=self._idle_pcpus.complete)
        self._say.once("sets", wrong, logging.ERROR)
        if self.view is not None and self.view.digest != digest_of(host):
            LOG.warning("the topology changed: online pCPUs %s, %d cells", host.online, len(host.cells))
        return host

    def _read_guests(self, host: HostTopology, facts: HostFacts) -> None:
        self.guests = self._reader.read(self.tools.libvirt, host, digest_of(host))
        facts = msgspec.structs.replace(facts, stats={**facts.stats, "failed_builds": str(self._failed_builds)})
        self.view = view_of(host, facts, self.guests, self.settings)
        self._stale = False
        for name in self._wrong - self.guests.wrong.keys():
            self._say.once(f"domain {name}", "")
        self._wrong = set(self.guests.wrong)
        for name, why in self.guests.wrong.items():
            self._say.once(f"domain {name}", why)

    # ---------------------------------------------------------------- assignments

    def reconcile(self, *, accepted: bool) -> None:
        """Make the host what the scheduler wants, or while it does not take our reports, what we remember."""
        self._put_back()
        assignments = self._pull() if accepted else None
        if self._stale or self._plan(assignments):
            self.read_guests()  # nothing is done by what was so a while ago
        self._note_boot()
        actions = self._plan(assignments)
        for action in actions:
            self.progress()
            try:
                self._act(action)
            except Unreachable:
                self._interrupted = True
                raise
            except CellwrightError as why:
                self._say.once(
                    action.instance, f"{action.todo} {action.domain or action.instance}: {why}", logging.ERROR
                )
        if any(action.todo not in (Todo.STOPPED, Todo.ORPHAN) for action in actions):
            self.read_guests()

    def _plan(self, assignments: tuple[Assignment, ...] | None) -> tuple[Action, ...]:
        resume = self.settings.agent.resume_guests_on_boot
        return plan(assignments, self.guests.own, self.state, boot_id=self._boot_id, resume=resume)

    def _put_back(self) -> None:
        """A change that was begun and not ended comes first: what is decided next goes by what is there."""
        if not self._interrupted:
            return
        try:
            self._stale = True
            carry_out.put_back_interrupted(self.tools)
        except Unreachable:
            raise
        except CellwrightError as why:
            self._say.once("journal", str(why), logging.ERROR)
        else:
            self._say.once("journal", "", logging.WARNING)
            self._interrupted = False

    def _pull(self) -> tuple[Assignment, ...] | None:
        try:
            assignments = self._link.assignments()
        except CellwrightError as why:
            self._say.once("pull", str(why), logging.WARNING)
            return None
        self._say.once("pull", "", logging.WARNING)
        return assignments

    def _note_boot(self) -> None:
        running = {domain.instance for domain in self.guests.own if domain.running}
        state = self.state
        for known in state.known:
            if known.instance in running and known.boot_id != self._boot_id:
                state = state.put(msgspec.structs.replace(known, boot_id=self._boot_id))
        self._remember(state)

    def _act(self, action: Action) -> None:
        instance, domain = action.instance, action.domain
        if action.todo is Todo.ORPHAN:
            text = f"domain {domain} was made for instance {instance}, which the scheduler does not list: left alone"
            self._say.once(instance, text, logging.WARNING)
        elif action.todo is Todo.STOPPED:
            self._say.once(
                instance, f"domain {domain} is not running and was not stopped by us: left alone", logging.WARNING
            )
        elif action.todo in (Todo.REMOVE, Todo.GONE):
            self._remember(self.state.drop(instance))
            self._stale = True
            if domain:
                carry_out.remove(self.tools, domain)
                log_removed(domain, instance)
            self._confirm(Confirmation(instance=instance, outcome=Outcome.GONE))
        elif action.todo is Todo.LOST:
            known = self.state.of(instance)
            if self._confirm(carry_out.lost(instance, known.domain if known else "")):
                self._remember(self.state.drop(instance))
        elif action.assignment is not None:
            try:
                self._bring_up(action, action.assignment)
            finally:
                self._stale = True

    def _bring_up(self, action: Action, assignment: Assignment) -> None:
        domain = action.domain
        confirmation: Confirmation | None
        if action.todo is Todo.PROVE:
            confirmation = carry_out.prove(self.tools, action)
        elif action.todo is Todo.START:
            carry_out.start(self.tools, domain)
            LOG.warning("started domain %s of instance %s", domain, assignment.instance)
            confirmation = Confirmation(instance=assignment.instance, outcome=Outcome.VERIFIED)
        else:
            confirmation, domain = self._create(action, assignment)
        if confirmation is None:
            return
        taken = self._confirm(confirmation)
        if confirmation.outcome is Outcome.VERIFIED and assignment.placement is not None:
            known = Known(
                instance=assignment.instance,
                name=assignment.name,
                domain=domain,
                placement=assignment.placement,
                owner=assignment.owner,
                verified=taken,
                boot_id=self._boot_id,
            )
            self._remember(self.state.put(known))
            self._say.forget(assignment.instance)

    def _create(self, action: Action, assignment: Assignment) -> tuple[Confirmation | None, str]:
        if self._stale or self.view is None:
            self.read_guests()
        assert self.view is not None
        host, facts = self._read_host(), self.view.facts
        if action.todo is Todo.REPLACE and assignment.placement is not None:
            others = [one for one in self.guests.claimants if one.name != action.domain]
            answer = check_now(assignment.placement, host, others, facts.limits)
            if isinstance(answer, Misfit):
                return Confirmation(instance=action.instance, outcome=Outcome.REFUSED, misfit=answer), action.domain
            self._remember(self.state.drop(action.instance))
            carry_out.remove(self.tools, action.domain)
            self.read_guests()

        def begin() -> bool:
            if not self._confirm(Confirmation(instance=action.instance, outcome=Outcome.BUILDING)):
                return False
            if assignment.placement is not None:
                self._idle_pcpus.wake(named_pcpus(assignment.placement, host))
            return True

        confirmation, domain = carry_out.create(
            self.tools, assignment, host=host, facts=facts, guests=self.guests, accepted=begin
        )
        if confirmation is not None:
            log_outcome(confirmation, domain)
            if confirmation.outcome is Outcome.FAILED:
                self._failed_builds += 1
            elif confirmation.outcome is Outcome.VERIFIED:
                self._failed_builds = 0
        return confirmation, domain

    def _confirm(self, confirmation: Confirmation) -> bool:
        """Whether the scheduler took it; what it did not take follows again from the next reconciling."""
        try:
            self._link.confirm(confirmation)
        except CellwrightError as why:
            LOG.warning(
                "instance %s: the scheduler did not take %s: %s", confirmation.instance, confirmation.outcome, why
            )
            return False
        return True

    # ---------------------------------------------------------------- the host itself

    def keep_host(self) -> None:
        """Interrupts and idle pCPUs as the settings want them; what others changed there is drift."""
        if self.view is None:
            return
        agent, host, guests = self.settings.agent, self.view.topology, self.guests
        found = self._interrupts.keep(agent, guests.claimants, host)
        found += self._idle_pcpus.keep(agent, guests.claimants, host, pids=self.guests.pids, defined=guests.defined)
        at = Root().stamp()[0]
        drift = (Drift(at=at, guest="", change="appeared", message=one.message, finding=one) for one in found)
        self._drifted(self.prover.counted(tuple(drift)))

    def leave_host(self) -> None:
        """The agent ends: pCPUs that sleep for it run again; interrupts stay where they disturb no guest."""
        self._idle_pcpus.wake_all()

    # ---------------------------------------------------------------- proof

    def prove_masks(self) -> None:
        """Compare every mask with the last judgement; log and repair what drifted."""
        self._drifted(self.prover.check_masks(self.guests), self.prover.quick)
        if self._reread:
            self._reread = False
            self.prover.look_again(self.repairs.try_again(self.tools, self.guests.pids.keys()))

    def prove_pages(self) -> float:
        """Read pages too; the CPU seconds that it took."""
        drift, cost_s = self.prover.check_pages()
        self._drifted(drift, self.prover.full)
        return cost_s

    def _drifted(self, drift: Collection[Drift], judged: Verdict | None = None) -> None:
        placed = {one.name for one in self.guests.claimants if not one.foreign}
        for one in drift:
            log_drift(one, placed=one.guest in placed)
        found = {(one.guest, one.finding.code) for one in drift if one.change == "appeared" and one.finding is not None}
        found |= self.repairs.find_again(judged)
        moved = {guest for guest, _ in found} & placed
        strayed = any(code in PAGE_CODES for _, code in found)
        self.prover.look_again(self.repairs.put_back(self.tools, moved, strayed=strayed))

    def metrics(self, report_age_s: float | None) -> str:
        """Prometheus' text of what is known now; empty before the first reading."""
        if self.view is None:
            return ""
        return render_metrics(
            self.view,
            sum_usage(self.guests.claimants),
            quick=self.prover.quick,
            full=self.prover.full,
            drifted=dict(self.prover.drifted),
            repairs=dict(self.repairs.counts),
            upkeep={
                "asleep_pcpus": len(self._idle_pcpus.asleep),
                "steered_irqs": self._interrupts.steered,
                "stuck_irqs": self._interrupts.stuck,
            },
            report_age_s=report_age_s,
        )

    # ---------------------------------------------------------------- remembering

    def remember(self) -> None:
        """Write the state although nothing changed: the agent's id must outlive this process."""
        self._say.expect("state file")
        self._remember(self.state)

    def _remember(self, state: AgentState) -> None:
        """Keep the state; a disk that takes nothing is said once and lived with: domains say whose they are."""
        changed, self.state = state != self.state, state
        if not changed and "state file" not in self._say:
            return
        try:
            write_agent_state(self._state_file, state)
        except CellwrightError as why:
            self._say.once("state file", f"{why}; going on without", logging.ERROR)
        else:
            self._say.once("state file", "", logging.WARNING)
