"""What agent and scheduler say to each other: the only words that the two halves share.

The agent dials out: it reports, asks for work, and confirms.  Documents of an older minor version are read (missing
keys have defaults); a newer major version is refused with both versions named (agent.core.codec).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from agent.core.facts import HostFacts
from agent.core.placement import Misfit, Placement
from agent.core.request import Request
from agent.core.topology import HostTopology, Size
from agent.core.usage import Usage


class InstanceStatus(StrEnum):
    """An instance's life: claimed, being started, verified; or failed with the reason kept; or being taken away."""

    SCHEDULED = "SCHEDULED"
    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    DELETING = "DELETING"


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is and holds.

    ``topology`` is null when it is the one sent before: ``digest`` (SHA-256 of its JSON, hex) says which that was.
    ``foreign`` is what guests hold that the scheduler did not place; ``running`` lists the ids of those it did.
    ``reserved_ram_mb`` is kept from guests altogether.  ``agent`` is the id that an agent keeps on its host: two hosts
    of one name are told apart by it.  While nothing changes, every report is the same, byte for byte: the scheduler
    knows it again without reading it.
    """

    schema: str = "cellwright.report/1"
    hostname: str
    agent: str = ""
    version: str = ""
    digest: str
    topology: HostTopology | None = None
    facts: HostFacts = HostFacts()
    foreign: Usage = Usage()
    foreign_vcpus: Size = 0
    foreign_ram_mb: Size = 0
    reserved_ram_mb: Size = 0
    running: tuple[str, ...] = ()


class ReportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler's answer to a report; ``send_topology`` asks for it whole, because the digest is not known."""

    schema: str = "cellwright.report-answer/1"
    send_topology: bool = False
    interval_s: float = 10.0


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Something a host should do: have this guest as placed, or (``placement`` null) no longer have it.

    ``unconfirmed``: the scheduler has not heard yet that the guest runs as placed, whatever the agent remembers.
    """

    schema: str = "cellwright.assignment/1"
    instance: str
    name: str
    placement: Placement | None
    request: Request | None = None
    owner: str = ""
    unconfirmed: bool = False


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a host should have.  ``number`` changes with it: who waits for another gets null when none came."""

    number: int
    assignments: tuple[Assignment, ...] | None


class Outcome(StrEnum):
    """What became of an assignment on its host."""

    BUILDING = "building"
    VERIFIED = "verified"
    REFUSED = "refused"
    FAILED = "failed"
    GONE = "gone"


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's word on an assignment; ``misfit`` says why it was refused, ``reason`` why it failed."""

    schema: str = "cellwright.confirmation/1"
    instance: str
    outcome: Outcome
    misfit: Misfit | None = None
    reason: str = ""
