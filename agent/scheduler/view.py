"""HostView: one row of the host table under the names that Nova's HostState has; SpecView: what is wanted, likewise.

For rules that look at one host at a time: ``capabilities:`` extra specs, the JSON filter's ``$variables``, and third
parties' ``host_passes(host_state, spec)``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from agent.scheduler.aggregates import Aggregate
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted


class HostView:
    """Reads through to the table; makes nothing until it is asked."""

    def __init__(self, table: HostTable, row: int) -> None:
        self._table = table
        self._row = row
        host = table.at(row)
        self.host = self.nodename = host.name
        self.stats = host.facts.stats
        self.metrics = host.facts.metrics
        self.host_ip = host.facts.host_ip
        self.hypervisor_type = host.facts.hypervisor_type
        self.hypervisor_version = host.facts.hypervisor_version
        self.hypervisor_hostname = host.facts.hypervisor_hostname or host.name
        self.cpu_info = host.facts.cpu_info
        self.supported_instances = [list(item) for item in host.facts.supported_instances]
        self.instances = dict.fromkeys(sorted(host.instances))
        self.numa_topology = host.topology

    @property
    def aggregates(self) -> list[Aggregate]:
        """The aggregates this host is in."""
        return [aggregate for aggregate, rows in self._table.aggregates.rows if self._row in rows]

    def __getattr__(self, name: str) -> Any:
        column = _COLUMN_OF.get(name)
        if column is None:
            raise AttributeError(name)
        value = float(getattr(self._table, column)[self._row])
        return value if name.endswith("_ratio") else int(value)


_COLUMN_OF: dict[str, str] = {
    "vcpus_total": "vcpus",
    "vcpus_used": "vcpus_used",
    "total_usable_ram_mb": "ram_mb",
    "free_ram_mb": "free_ram_mb",
    "total_usable_disk_gb": "disk_gb",
    "free_disk_mb": "free_disk_mb",
    "num_instances": "instances_count",
    "num_io_ops": "io_ops",
    "failed_builds": "failed_builds",
    "cpu_allocation_ratio": "cpu_ratio",
    "ram_allocation_ratio": "ram_ratio",
    "disk_allocation_ratio": "disk_ratio",
}


NAMES = frozenset(
    {"host", "nodename", "stats", "metrics", "host_ip", "hypervisor_type", "hypervisor_version"}
    | {"hypervisor_hostname", "cpu_info", "supported_instances", "instances", "numa_topology", "aggregates"}
    | _COLUMN_OF.keys()
)
"""Every attribute a view has."""


def lookup(view: HostView, path: list[str]) -> Any:
    """What ``capabilities:a:b`` names: an attribute or else an entry of ``stats``, then entries of trees; or None."""
    head, *rest = path
    value: Any = getattr(view, head, None)
    if value is None:
        value = view.stats.get(head)
    for key in rest:
        if isinstance(value, str):
            value = _tree(value)
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _tree(text: str) -> Any:
    """A statistic may hold JSON; None where it does not."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


class SpecView:
    """A wanted instance under the names that Nova's RequestSpec has; ``request`` is ours, with everything."""

    def __init__(self, wanted: Wanted) -> None:
        request, flavor, group = wanted.request, wanted.request.flavor, wanted.group
        self.request = request
        self.instance_uuid = wanted.instance
        self.project_id = wanted.project
        self.num_instances = 1
        self.vcpus = flavor.vcpus
        self.memory_mb = flavor.ram_mb
        self.root_gb = flavor.disk_gb
        self.ephemeral_gb = flavor.ephemeral_gb
        self.swap = flavor.swap_mb
        self.flavor = SimpleNamespace(
            name=flavor.name,
            flavorid=flavor.name,
            vcpus=flavor.vcpus,
            memory_mb=flavor.ram_mb,
            root_gb=flavor.disk_gb,
            ephemeral_gb=flavor.ephemeral_gb,
            swap=flavor.swap_mb,
            extra_specs=wanted.extra_specs,
        )
        self.image = SimpleNamespace(name=request.image.name, properties=wanted.properties)
        self.availability_zone = request.availability_zone
        self.ignore_hosts = list(request.ignore_hosts)
        self.force_hosts = [request.force_host] if request.force_host else []
        self.scheduler_hints = {key: list(wanted.hint(key)) for key in sorted(request.hints)}
        self.instance_group = None
        if group is not None:
            self.instance_group = SimpleNamespace(
                name=group.name,
                policy=group.policy,
                members=sorted(group.members),
                hosts=sorted(group.hosts),
                rules={"max_server_per_host": group.max_server_per_host},
            )

    def get_scheduler_hint(self, hint_name: str, default: Any = None) -> Any:
        """A hint's value, or the list of them when there are several."""
        values = self.scheduler_hints.get(hint_name)
        if not values:
            return default
        return values[0] if len(values) == 1 else values
