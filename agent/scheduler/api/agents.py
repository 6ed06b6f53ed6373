"""What agents call: report, ask for work, confirm.  A host's token speaks for that host only."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from litestar import Controller, Request, get, post
from litestar.datastructures import State

from agent.core.errors import BadInput
from agent.core.names import check_host
from agent.core.topology import HostTopology, find_contradiction
from agent.core.wire import Confirmation, HostReport, ReportAnswer, Work
from agent.placement.room import unknown_cells
from agent.scheduler.api.auth import own_host
from agent.scheduler.service import Scheduler
from agent.scheduler.store.records import HostRecord

LOG = logging.getLogger("cellwright.scheduler")
LONGEST_WAIT_S = 60.0


class Agents(Controller):
    """Reports, assignments and confirmations of one host."""

    path = "/v1/agents/{host:str}"
    guards = [own_host]

    @post("/report", status_code=200)
    async def report(self, request: Request[Any, Any, Any], state: State, host: str, data: HostReport) -> ReportAnswer:
        """Take a host's report; the answer asks for the topology when its digest is not the one that is known."""
        if data.hostname != host:
            raise BadInput(f"report of {data.hostname} on the path of host {host}")
        needs = await asyncio.to_thread(take_report, state.scheduler, data, await request.body())
        return ReportAnswer(send_topology=needs, interval_s=state.service.report_interval_s)

    @get("/assignments")
    async def assignments(self, state: State, host: str, after: int = -1, wait_s: float = 0.0) -> Work:
        """Everything the host should have.

        With ``after`` the answer waits until something is newer, or ``wait_s``, and is null when nothing is then.
        """
        wait_s = min(max(0.0, wait_s), LONGEST_WAIT_S)  # in this order, nan is 0
        number = await state.news.wait(host, after, wait_s)
        if number == after and wait_s > 0:
            return Work(number=number, assignments=None)
        return Work(number=number, assignments=tuple(await asyncio.to_thread(state.scheduler.assignments, host)))

    @post("/confirmations", status_code=204, sync_to_thread=True)
    def confirm(self, state: State, host: str, data: Confirmation) -> None:
        """Take the agent's word on one of its assignments."""
        state.scheduler.confirm(host, data)


def note_contradiction(before: HostTopology, after: HostTopology) -> None:
    """Log what is different in a host's new topology: it is believed, and never silently."""
    facts = {
        "online pCPUs": (before.online, after.online),
        "cells": tuple(", ".join(str(cell.id) for cell in one.cells) for one in (before, after)),
        "dedicated set": (before.dedicated(), after.dedicated()),
        "shared set": (before.shared(), after.shared()),
        "memory in KiB": tuple(sum(cell.memory_kib or 0 for cell in one.cells) for one in (before, after)),
    }
    said = [f"{what} {was} → {now}" for what, (was, now) in facts.items() if was != now]
    if said:
        LOG.warning("host %s has another topology: %s", after.hostname, "; ".join(said))


def take_report(scheduler: Scheduler, report: HostReport, body: bytes = b"") -> bool:
    """Keep what changed; True when the topology must be sent whole first.

    ``body`` is the report as it was sent, to know it again.
    """
    known = scheduler.cloud.host(report.hostname)
    if known is None:
        check_host(report.hostname)
    scheduler.hear(report.hostname, report.agent, report.running)
    if report.topology is not None and report.topology.hostname != report.hostname:
        raise BadInput(f"report of {report.hostname} holds the topology of {report.topology.hostname}")
    if report.topology is not None and (wrong := find_contradiction(report.topology)):
        raise BadInput(f"report: topology: {wrong}")
    if report.topology is None and (known is None or known.digest != report.digest):
        if known is not None:
            scheduler.seen(report.hostname)
        return True
    topology = report.topology or (known.topology if known else None)
    if topology is not None and (lost := unknown_cells(topology, report.foreign)):
        raise BadInput(f"report: foreign: cell {lost[0]} is not on host {report.hostname}")
    if known is not None and known.topology is not None and report.topology is not None:
        note_contradiction(known.topology, report.topology)
    record = HostRecord(
        name=report.hostname,
        topology=topology,
        model=known.model if known and report.topology is None else "",
        digest=report.digest,
        facts=report.facts,
        foreign=report.foreign,
        foreign_vcpus=report.foreign_vcpus,
        foreign_ram_mb=report.foreign_ram_mb,
        reserved_ram_mb=report.reserved_ram_mb,
    )
    scheduler.report(record)
    scheduler.know_again(report, body)
    return False
