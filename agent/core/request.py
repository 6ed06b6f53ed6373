"""The Request document: what somebody wants placed, in OpenStack's own keys."""

from __future__ import annotations

from typing import Any

import msgspec


class Flavor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes and extra specs of a guest: ``ram_mb`` in MiB, ``disk_gb`` in GiB, as OpenStack names them."""

    vcpus: int
    ram_mb: int
    name: str = ""
    disk_gb: int = 0
    ephemeral_gb: int = 0
    swap_mb: int = 0
    extra_specs: dict[str, str | int | float | bool] = {}


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The image's name and its properties (``hw_cpu_policy`` …)."""

    name: str = ""
    properties: dict[str, str | int | float | bool] = {}


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flavor, image and hints.  Values are checked when the guest topology is derived, not here."""

    flavor: Flavor
    name: str = ""
    image: Image = Image()
    availability_zone: str | None = None
    hints: dict[str, Any] = {}
    group: str | None = None
    ignore_hosts: tuple[str, ...] = ()
    force_host: str | None = None


def spec_text(value: str | int | float | bool) -> str:
    """The text OpenStack would hold for a value that came from TOML or YAML: ``true`` for True, ``1`` for 1."""
    return str(value).lower() if isinstance(value, bool) else str(value)
