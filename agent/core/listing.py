"""Rows that the scheduler's API lists and the cluster verbs print."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from agent.core.placement import Placement
from agent.core.request import Flavor, Image, Request

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What names a thing that an operator makes: one line, not longer than the database keeps."""


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """A host in a list; ``state`` is up, down or silent (never heard from), ``status`` enabled or disabled.

    ``leaving`` counts instances that were placed elsewhere and are not gone from here yet.
    """

    name: str
    zone: str
    state: str
    status: str
    cells: int
    vcpus: int
    vcpus_used: int
    ram_mb: int
    ram_mb_used: int
    pinned: str
    instances: int
    leaving: int = 0
    disabled_reason: str = ""


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """An instance in a list; ``cells`` are the host cells it is on, ``reason`` why it is in ERROR.

    ``leaving`` are hosts that have not said yet that it is gone from them.
    """

    id: str
    name: str
    status: str
    host: str | None
    zone: str | None
    project: str
    flavor: str
    vcpus: int
    ram_mb: int
    cells: str
    group: str | None
    leaving: str = ""
    reason: str = ""


class InstanceDetail(InstanceView, frozen=True, kw_only=True):
    """An instance with what was asked for it and where it is."""

    request: Request
    placement: Placement | None


class AggregateView(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate; its ``zone`` is metadata too."""

    id: int
    name: str
    zone: str | None
    hosts: tuple[str, ...]
    properties: dict[str, str]


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A server group and the ids of its members."""

    name: str
    policy: str
    max_server_per_host: int
    members: tuple[str, ...]


class ZoneView(msgspec.Struct, frozen=True, kw_only=True):
    """An availability zone and how many of its hosts are there and usable."""

    name: str
    hosts: int
    available: int


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """One bound of a project, and what is used of it."""

    project: str
    resource: str
    most: int | None
    used: int


class NewHost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host added by hand, for trials; ``topology`` is a Topology document."""

    name: Name
    topology: dict[str, Any]
    disk_gb: int = 0
    facts: dict[str, Any] = {}


class HostChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let new guests onto a host, or keep them off."""

    enabled: bool
    reason: str = ""


class NewAggregate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An aggregate to be made."""

    name: Name
    properties: dict[str, str] = {}


class AggregateChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metadata to set (null takes a key away), and a new name."""

    properties: dict[str, str | None] = {}
    name: Name | None = None


class FlavorChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Extra specs to set; null takes one away."""

    properties: dict[str, str | None]


class NewGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server group to be made."""

    name: Name
    policy: str
    max_server_per_host: int = 1


class QuotaChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most a project may use of each resource; -1 for no bound."""

    bounds: dict[str, int]


class NewInstance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instance to be scheduled: a known flavor by name, or one in full.

    ``count`` makes several; when fewer than ``min_count`` can be, none is.
    """

    name: str
    flavor: str | Flavor
    image: Image = msgspec.field(default_factory=Image)
    availability_zone: str | None = None
    hints: dict[str, Any] = {}
    group: str | None = None
    ignore_hosts: tuple[str, ...] = ()
    force_host: str | None = None
    project: str = ""
    count: int = 1
    min_count: int = 1
    region: str | None = None


class InstanceMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Place an instance again: elsewhere (migrate), with another flavor (resize), or with another image (rebuild)."""

    flavor: str | None = None
    image: Image | None = None
    host: str | None = None


class NewToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a token: role operator, reader or host; the subject is a person's or the host's name.

    ``token`` is one that another region's scheduler made: requests that are redirected there carry the same token.
    """

    role: str
    subject: Name
    token: str | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token, shown this once."""

    role: str
    subject: str
    token: str
