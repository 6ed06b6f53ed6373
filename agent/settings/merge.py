"""Many layers to the settings in force: later wins, key by key, and every value keeps the name of its source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from agent.core.errors import BadInput
from agent.settings.document import CPU_SETS, Effective, Layer, Settings


def merge(layers: Iterable[Layer]) -> Effective:
    """The settings in force; BadInput when the CPU sets of all sources together break Nova's rules.

    >>> merge([]).settings == Settings()
    True
    """
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        if layer.replaces_sets and any(key in CPU_SETS for key in layer.values.get("host", ())):
            for key in CPU_SETS:
                values.get("host", {}).pop(key, None)
                origins.pop(f"host.{key}", None)
        for section, table in layer.values.items():
            for key, value in table.items():
                values.setdefault(section, {})[key] = value
                origins[f"{section}.{key}"] = layer.source
    sections = {
        field.name: type(field.default)(**values.get(field.name, {})) for field in msgspec.structs.fields(Settings)
    }
    effective = Effective(Settings(**sections), {name: origins[name] for name in sorted(origins)})
    _check_sets(effective)
    return effective


def _check_sets(effective: Effective) -> None:
    host, origins = effective.settings.host, effective.origins
    if host.vcpu_pin_set is not None and host.cpu_dedicated_set is not None:
        raise BadInput(
            f"vcpu_pin_set ({origins['host.vcpu_pin_set']}) and cpu_dedicated_set ({origins['host.cpu_dedicated_set']})"
            " exclude each other; allowed: cpu_dedicated_set with cpu_shared_set, or the older vcpu_pin_set"
        )
    if host.cpu_dedicated_set is not None and host.cpu_shared_set is not None:
        both = host.cpu_dedicated_set & host.cpu_shared_set
        if both:
            raise BadInput(
                f"pCPUs {both} are in cpu_dedicated_set ({origins['host.cpu_dedicated_set']}) and in cpu_shared_set"
                f" ({origins['host.cpu_shared_set']}); allowed: each pCPU in one of them"
            )
