"""ComputeCapabilities and ImageProperties: what the host's software and CPUs must be able to do.

ComputeCapabilities reads ``capabilities:a:b`` extra specs, and keys without a namespace where the host has an attribute
or statistic of that name.  ImageProperties compares the image's architecture, hypervisor type and vm mode with the
host's supported instances, and ``img_hv_requested_version`` with its hypervisor version.
"""

from __future__ import annotations

import operator
import re

import numpy as np
from packaging.version import Version

from agent.core.errors import BadRequest
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.operators import matches
from agent.scheduler.table import HostKind, HostTable
from agent.scheduler.view import NAMES, HostView, lookup
from agent.scheduler.wanted import Wanted, canonical
from agent.settings.scheduling import SchedulingSettings

OF_KIND = ("cpu_info", "hypervisor_type", "hypervisor_version")
COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
COMPARISON = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")
VERSION = "img_hv_requested_version"
BITS = "hw_maxphysaddr_bits"


def _capability_specs(wanted: Wanted) -> list[tuple[list[str], str, bool]]:
    """(path, text, optional) of the specs that look at capabilities; optional ones mind only hosts that have them."""
    specs = []
    for key, text in sorted(wanted.extra_specs.items()):
        if key == "hw:maxphysaddr_bits":
            specs.append((["cpu_info", "maxphysaddr", "bits"], f">= {text}", False))
        elif ":" not in key:
            specs.append(([key], text, True))
        elif key.startswith("capabilities:"):
            specs.append((key.split(":")[1:], text, False))
    return specs


def _capabilities(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    specs = _capability_specs(wanted)
    if not specs:
        return None
    passes = table.alive.copy()
    for path, text, optional in specs:
        if path[0] not in NAMES and path[0] not in table.stat_names:
            passes &= optional
            continue
        by_kind: dict[int, bool] = {}
        for row in np.flatnonzero(passes).tolist():
            kind = int(table.kind[row])
            verdict = by_kind.get(kind)
            if verdict is None:
                view = HostView(table, row)
                value = lookup(view, path)
                verdict = optional if value is None else matches(str(value), text)
                if path[0] in OF_KIND:
                    by_kind[kind] = verdict
            passes[row] = verdict
    return passes


def parse_predicate(text: str) -> list[tuple[str, Version]]:
    """The comparisons of ``>=6.0,<9`` and the like; versions are those of Python's packages, as in Nova: ``8.0rc1``."""
    found = []
    for part in text.split(","):
        match = COMPARISON.fullmatch(part)
        version = None if match is None else _version(match[2])
        if match is None or version is None:
            allowed = "<, <=, ==, !=, >=, > and a version such as 6.0.0, commas between"
            raise BadRequest(VERSION, text, "no comparison with a version", allowed=allowed)
        found.append((match[1], version))
    return found


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except ValueError:  # InvalidVersion is one, and so is a number of 5,000 digits
        return None


def satisfies_version(version: int, predicate: str) -> bool:
    """Whether a hypervisor version (1,000,000 × major + 1,000 × minor + micro) satisfies ``>=6.0,<9`` and the like."""
    have = Version(f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}")
    return all(COMPARISONS[sign](have, wanted) for sign, wanted in parse_predicate(predicate))


def check_image(wanted: Wanted) -> None:
    """BadRequest for image properties of this filter that no host could be compared with."""
    if wanted.properties.get(VERSION):
        parse_predicate(wanted.properties[VERSION])
    bits = wanted.properties.get(BITS)
    if bits and not re.fullmatch("[0-9]{1,4}", bits):
        raise BadRequest(BITS, bits, "not a number of bits", allowed="a number, such as 42")


def _kind_supports(kind: HostKind, asked: tuple[str | None, ...], wanted: Wanted) -> bool:
    version = wanted.properties.get(VERSION)
    if version and kind.hypervisor_version and not satisfies_version(kind.hypervisor_version, version):
        return False
    bits_wanted = wanted.properties.get(BITS)
    bits = (kind.cpu_info().get("maxphysaddr") or {}).get("bits")
    if bits_wanted and bits and int(bits) < int(bits_wanted):
        return False
    return any(all(item is None or item in supported for item in asked) for supported in kind.supported_instances)


def _image(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    check_image(wanted)
    props = wanted.properties
    asked = (
        props.get("hw_architecture") or canonical("hw_architecture", settings.image_properties_default_architecture),
        props.get("img_hv_type") or None,
        props.get("hw_vm_mode") or None,
    )
    if not any(asked):
        return None
    verdicts = np.array([_kind_supports(kind, asked, wanted) for kind in table.kinds] or [True], dtype=np.bool_)
    return verdicts[table.kind]


def _wants_capabilities(wanted: Wanted, settings: SchedulingSettings) -> str:
    specs = [f"{':'.join(path)} {text}" for path, text, optional in _capability_specs(wanted) if not optional]
    return ", ".join(specs) or "nothing"


def _wants_image(wanted: Wanted, settings: SchedulingSettings) -> str:
    keys = ("hw_architecture", "img_hv_type", "hw_vm_mode", VERSION, BITS)
    return ", ".join(f"{key}={wanted.properties[key]}" for key in keys if key in wanted.properties) or "nothing"


FILTERS = (
    Filter("ComputeCapabilities", _capabilities, _wants_capabilities),
    Filter("ImageProperties", _image, _wants_image, on_rebuild=True),
)
