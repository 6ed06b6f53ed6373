"""What libvirt says about its domains, in our types, and its ways to say no."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from agent.core.errors import BadInput, CellwrightError


class State(StrEnum):
    """What a domain does, in virsh's words."""

    RUNNING = "running"
    IDLE = "idle"
    PAUSED = "paused"
    SHUTTING_DOWN = "in shutdown"
    SHUT_OFF = "shut off"
    CRASHED = "crashed"
    SUSPENDED = "pmsuspended"
    UNKNOWN = "no state"


class Refused(CellwrightError):
    """libvirt said no to an operation; the message is libvirt's own, after what was tried."""


class RefusedXml(BadInput):
    """libvirt said no to a domain XML; ``element`` is the one its message names, where it names one."""

    def __init__(self, name: str, message: str, element: str | None) -> None:
        where = f" at <{element}>" if element else ""
        super().__init__(f"domain {name}: libvirt refuses the XML{where}: {message}")
        self.element = element


class NoSuchDomain(BadInput):
    """There is no domain of that name, or not any more."""


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """One domain as libvirt lists it; ``pid`` is the QEMU process of a running one, None where it can't be known."""

    name: str
    uuid: str
    state: State
    active: bool
    persistent: bool
    pid: int | None = None


class Lifecycle(msgspec.Struct, frozen=True):
    """Something happened to a domain: ``event`` is libvirt's word for it (started, stopped, resumed …)."""

    domain: str
    event: str
