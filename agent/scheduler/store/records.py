"""Rows as values: what the store hands out."""

from __future__ import annotations

import msgspec

from agent.core.facts import HostFacts
from agent.core.placement import Placement
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Usage
from agent.core.wire import InstanceStatus


class ClaimLost(Exception):
    """Somebody else was first, or a host is no longer what the placement was computed on: ``hosts`` want reading again.

    An answer to the scheduler's own loop; never shown.
    """

    def __init__(self, *hosts: str) -> None:
        super().__init__(", ".join(hosts))
        self.hosts = hosts


class Overtaken(Exception):
    """An instance was changed or deleted by another scheduler after it was read.

    Handled by the scheduler's own loop; never shown.
    """


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A host as it is kept.  ``agent`` is False for a host that was added by hand, for trials.

    ``model`` is the digest of the topology without the host's name: hosts of one hardware model share it.
    ``generation`` grows with everything that another scheduler must know of a host: claims, reports, deletions of its
    guests.  A claim that was computed on an older one is refused.
    """

    name: str
    topology: HostTopology | None = None
    model: str = ""
    digest: str = ""
    facts: HostFacts = HostFacts()
    foreign: Usage = Usage()
    foreign_vcpus: int = 0
    foreign_ram_mb: int = 0
    reserved_ram_mb: int = 0
    enabled: bool = True
    disabled_reason: str = ""
    agent: bool = True
    last_seen_s: float = 0.0
    generation: int = 0


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as it is kept; times are seconds since the epoch, ``expires_s`` bounds an unconfirmed claim.

    ``waits_for`` names hosts that must say that it is gone from them before it may begin where it is placed now.
    ``generation`` grows with every change: one that was made on an older state is refused.
    """

    id: str
    name: str
    project: str = ""
    status: InstanceStatus
    host: str | None = None
    group: str | None = None
    request: Request
    placement: Placement | None = None
    reason: str = ""
    tried: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    created_s: float
    updated_s: float
    expires_s: float | None = None
    generation: int = 0


class Leaving(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that outlives a move: the instance was placed elsewhere, and this host has not said that it is gone."""

    instance: str
    host: str
    vcpus: int
    ram_mb: int
    disk_gb: int
    placement: Placement
    since_s: float


class GroupRecord(msgspec.Struct, frozen=True):
    """A server group; its members are the instances that name it."""

    name: str
    policy: str
    max_server_per_host: int = 1


class AggregateRecord(msgspec.Struct, frozen=True):
    """A host aggregate with its hosts and metadata."""

    id: int
    name: str
    hosts: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
