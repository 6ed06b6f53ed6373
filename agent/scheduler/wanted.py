"""Wanted: a request with everything that filters and weighers may ask about it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from agent.core.guest import GuestTopology
from agent.core.request import Request, spec_text
from agent.placement.language import check_name, check_request, parse_guest

ALIASES = {
    "hw_architecture": {"i386": "i686", "i486": "i686", "i586": "i686", "x86_32": "i686", "amd64": "x86_64"},
    "img_hv_type": {"xapi": "xen"},
    "hw_vm_mode": {"pv": "xen", "hv": "hvm", "baremetal": "hvm"},
}
"""Other spellings of image properties that OpenStack takes, and what it makes of them."""


def canonical(key: str, text: str | None) -> str | None:
    """An image property in the spelling that hosts report; None and other properties as they are."""
    return text if text is None or key not in ALIASES else ALIASES[key].get(text.lower(), text.lower())


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A server group as it stands: its policy, the ids of its members, and the hosts they are on."""

    name: str
    policy: str
    members: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    max_server_per_host: int = 1


class Meanings:
    """What requests mean, kept for those that are asked again: a cloud has few flavors and images."""

    MOST = 1000

    def __init__(self) -> None:
        self._kept: dict[bytes, GuestTopology] = {}

    def of(self, request: Request) -> GuestTopology:
        """The guest topology of a request as a user hands it in; BadRequest when it means nothing."""
        key = msgspec.json.encode((request.flavor, request.image))
        guest = self._kept.get(key)
        if guest is None:
            check_request(request)
            guest = parse_guest(request)
            if len(self._kept) >= self.MOST:
                self._kept.clear()
            self._kept[key] = guest
        check_name(request.name)
        if guest.name == request.name:
            return guest
        named = msgspec.structs.replace(guest, name=request.name)
        named.__dict__.update(guest.__dict__)  # what was worked out already does not depend on the name
        return named


class Wanted(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One instance to be scheduled.

    ``instance`` is its id: a host that already runs it (a resize in place) is not refused by anti-affinity.  ``tried``
    names hosts that refused it before.  ``races`` counts claims of it at which others were first.  ``meant`` is what
    the request means, where that is known.  ``only`` is the host that an operator names for a move: unlike a forced
    host it must pass the filters.
    """

    request: Request
    instance: str = ""
    project: str = ""
    group: Group | None = None
    tried: frozenset[str] = frozenset()
    races: int = 0
    rebuild: bool = False
    only: str | None = None
    meant: GuestTopology | None = None

    @cached_property
    def extra_specs(self) -> dict[str, str]:
        """The flavor's extra specs as OpenStack would hold them, text to text."""
        return {key: spec_text(value) for key, value in self.request.flavor.extra_specs.items()}

    @cached_property
    def properties(self) -> dict[str, str]:
        """The image's properties, text to text, in their canonical spelling."""
        return {key: canonical(key, spec_text(value)) or "" for key, value in self.request.image.properties.items()}

    def hint(self, key: str) -> tuple[str, ...]:
        """The values of a scheduler hint, a lone value as a list of one."""
        value: Any = self.request.hints.get(key)
        if value is None or value == "":
            return ()
        return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)

    @cached_property
    def guest(self) -> GuestTopology:
        """What the request means; BadRequest when it means nothing."""
        return self.meant or parse_guest(self.request)

    @property
    def disk_mb(self) -> int:
        """Root, ephemeral and swap space, in MiB."""
        flavor = self.request.flavor
        return (flavor.disk_gb + flavor.ephemeral_gb) * 1024 + flavor.swap_mb
