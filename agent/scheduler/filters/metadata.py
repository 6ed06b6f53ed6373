"""Filters over aggregate metadata: extra specs, tenants, image properties, flavors.

- AggregateInstanceExtraSpecs: each extra spec without a namespace, or in ``aggregate_instance_extra_specs:``, must
  match a value of some aggregate of the host.
- AggregateMultiTenancyIsolation: an aggregate with ``filter_tenant_id…`` keys takes only those projects.
- AggregateImagePropertiesIsolation: where an aggregate names an image property, the image's value must be among its.
- AggregateTypeAffinity: an aggregate with ``instance_type`` takes only the flavors it names.
"""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.operators import matches
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings

SCOPE = "aggregate_instance_extra_specs"


def scoped_specs(wanted: Wanted) -> list[tuple[str, str]]:
    """The extra specs this filter minds, without their namespace, so that a key may come twice; sorted.

    Other namespaces belong to others.
    """
    specs = []
    for key, value in wanted.extra_specs.items():
        scope, colon, name = key.partition(":")
        if not colon:
            specs.append((key, value))
        elif scope == SCOPE:
            specs.append((name, value))
    return sorted(specs)


def _extra_specs(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    specs = scoped_specs(wanted)
    if not specs:
        return None
    passes = np.ones(table.size, dtype=np.bool_)
    for key, text in specs:
        matching = [pair for pair in table.aggregates.having(key) if any(matches(v, text) for v in pair[0].values(key))]
        passes &= table.aggregates.mask(matching)
    return passes


def _tenants(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    keys = [key for key in table.aggregates.keys if key.startswith("filter_tenant_id")]
    if not keys:
        return None
    guarded = [(pair, key) for key in keys for pair in table.aggregates.having(key)]
    restricted = table.aggregates.mask([pair for pair, _ in guarded])
    welcome = table.aggregates.mask([pair for pair, key in guarded if wanted.project in pair[0].values(key)])
    return ~restricted | welcome


def _image_properties(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    if table.aggregates.keys.isdisjoint(wanted.properties):
        return None
    prefix = settings.aggregate_image_properties_isolation_namespace
    start = prefix + settings.aggregate_image_properties_isolation_separator if prefix else ""
    passes = np.ones(table.size, dtype=np.bool_)
    for key, value in sorted(wanted.properties.items()):
        having = table.aggregates.having(key) if value and key.startswith(start) else []
        if having:
            allowed = table.aggregates.mask([pair for pair in having if value in pair[0].values(key)])
            passes &= allowed | ~table.aggregates.mask(having)
    return passes


def _flavors(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    having = table.aggregates.having("instance_type")
    named = [pair for pair in having if wanted.request.flavor.name in pair[0].values("instance_type")]
    return ~table.aggregates.mask(having) | table.aggregates.mask(named)


def _wants_specs(wanted: Wanted, settings: SchedulingSettings) -> str:
    specs = scoped_specs(wanted)
    return "aggregates with " + ", ".join(f"{k}={v}" for k, v in specs) if specs else "nothing"


FILTERS = (
    Filter("AggregateInstanceExtraSpecs", _extra_specs, _wants_specs),
    Filter("AggregateMultiTenancyIsolation", _tenants, lambda w, s: f"room for project {w.project or '(none)'}"),
    Filter(
        "AggregateImagePropertiesIsolation",
        _image_properties,
        lambda w, s: "aggregates that take this image's properties",
        on_rebuild=True,
    ),
    Filter("AggregateTypeAffinity", _flavors, lambda w, s: f"aggregates that take flavor {w.request.flavor.name}"),
)
