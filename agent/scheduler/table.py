"""The host table: every host a row, every quantity a column, so that a filter is one comparison over all hosts.

Rows keep their number while the host is known; a removed host leaves a hole (``alive`` is False) that the next new host
fills.  Columns grow by doubling.  What is alike on many hosts (hypervisor, CPU model, supported instances) is held
once, as a *kind*, and each row names its kind: text rules are evaluated once a kind.

The table is the only mutable thing of the decision path; the service that owns it changes it between decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.facts import HostFacts
from agent.core.topology import Device, HostTopology
from agent.placement.room import Room
from agent.scheduler.aggregates import Aggregate, Membership
from agent.scheduler.cells import CellColumns

COLUMNS = (
    "vcpus",
    "vcpus_used",
    "ram_mb",
    "free_ram_mb",
    "disk_gb",
    "free_disk_mb",
    "cpu_ratio",
    "ram_ratio",
    "disk_ratio",
    "io_ops",
    "instances_count",
    "failed_builds",
    "hypervisor_version",
    "free_devices",
    "last_seen_s",
    "kin",
)


class HostRow(msgspec.Struct, frozen=True, kw_only=True):
    """One host as the table takes it in: sizes in MiB and GiB as in Nova, times in seconds since the epoch.

    ``devices`` are the PCI devices that no guest has; ``kin`` counts members of affinity groups: others must join them.
    ``io_ops`` counts the guests that are being built or are leaving.
    """

    name: str
    facts: HostFacts = HostFacts()
    topology: HostTopology | None = None
    room: Room | None = None
    vcpus: int
    vcpus_used: int = 0
    ram_mb: int
    free_ram_mb: int
    free_disk_gb: int | None = None
    instances: frozenset[str] = frozenset()
    devices: tuple[Device, ...] = ()
    enabled: bool = True
    last_seen_s: float = 0.0
    kin: int = 0
    io_ops: int = 0


class HostKind(msgspec.Struct, frozen=True):
    """What text rules look at; hosts with equal kinds share one."""

    hypervisor_type: str
    hypervisor_version: int
    supported_instances: tuple[tuple[str, str, str], ...]
    cpu_info_json: bytes

    def cpu_info(self) -> dict[str, Any]:
        """The reported CPU facts, as a tree."""
        tree: dict[str, Any] = msgspec.json.decode(self.cpu_info_json)
        return tree


class HostTable:
    """Columns over hosts.  ``size`` rows are in use, holes included; ``alive`` tells which."""

    vcpus: NDArray[np.float64]
    vcpus_used: NDArray[np.float64]
    ram_mb: NDArray[np.float64]
    free_ram_mb: NDArray[np.float64]
    disk_gb: NDArray[np.float64]
    free_disk_mb: NDArray[np.float64]
    cpu_ratio: NDArray[np.float64]
    ram_ratio: NDArray[np.float64]
    disk_ratio: NDArray[np.float64]
    io_ops: NDArray[np.float64]
    instances_count: NDArray[np.float64]
    kin: NDArray[np.float64]
    failed_builds: NDArray[np.float64]
    hypervisor_version: NDArray[np.float64]
    free_devices: NDArray[np.float64]
    last_seen_s: NDArray[np.float64]

    def __init__(self) -> None:
        self.size = 0
        self.now_s = 0.0
        self.rows: list[HostRow | None] = []
        self.row_of: dict[str, int] = {}
        self.row_of_instance: dict[str, int] = {}
        self.cells = CellColumns()
        self.kinds: list[HostKind] = []
        self.stat_names: set[str] = set()
        self.kind = np.zeros(0, dtype=np.intp)
        self.alive = np.zeros(0, dtype=np.bool_)
        self.enabled = np.zeros(0, dtype=np.bool_)
        self.has_topology = np.zeros(0, dtype=np.bool_)
        self._numbers = np.zeros((len(COLUMNS), 0), dtype=np.float64)
        self._full: dict[str, NDArray[Any]] = {}
        self._last_facts: tuple[HostFacts | None, int] = (None, 0)
        self._kind_of: dict[HostKind, int] = {}
        self._holes: list[int] = []
        self._filling = False
        self._aggregates: tuple[Aggregate, ...] = ()
        self._membership: Membership | None = None
        self._reserve(16)

    def put(self, host: HostRow) -> int:
        """Add a host or replace what is known of it; the answer is its row."""
        row = self.row_of.get(host.name)
        if row is None:
            row = self._new_row(host.name)
        self._forget_instances(row)
        before = self.rows[row]
        self.rows[row] = host
        facts = host.facts
        free_gb = facts.disk_gb if host.free_disk_gb is None else host.free_disk_gb
        if facts.disk_available_least_gb is not None:
            free_gb = min(free_gb, facts.disk_available_least_gb)
        values = (
            host.vcpus,
            host.vcpus_used,
            host.ram_mb,
            host.free_ram_mb,
            facts.disk_gb,
            free_gb * 1024,
            facts.limits.cpu_allocation_ratio or 1.0,
            facts.limits.ram_allocation_ratio or 1.0,
            facts.disk_allocation_ratio,
            int(facts.stats.get("io_workload", host.io_ops)),
            int(facts.stats.get("num_instances", len(host.instances))),
            int(facts.stats.get("failed_builds", 0)),
            facts.hypervisor_version,
            len(host.devices),
            host.last_seen_s,
            host.kin,
        )
        self._numbers[:, row] = values
        self._full["alive"][row] = True
        self._full["enabled"][row] = host.enabled
        self._full["has_topology"][row] = host.topology is not None
        self.cells.put(row, host.room, before=before.room if before is not None else None)
        if before is None or before.facts is not facts:
            self._full["kind"][row] = self._kind(facts)
            self.stat_names |= facts.stats.keys()
        for instance in host.instances:
            self.row_of_instance[instance] = row
        return row

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Inside it rows are added by the thousand, and columns are read again only after it."""
        self._filling = True
        try:
            yield
        finally:
            self._filling = False
            self._expose()

    def remove(self, name: str) -> None:
        """Forget a host; KeyError when it is not known."""
        row = self.row_of.pop(name)
        self._forget_instances(row)
        self.rows[row] = None
        self.cells.put(row, None)
        self.alive[row] = False
        self._holes.append(row)
        self._membership = None

    def seen(self, name: str, at_s: float) -> None:
        """A sign of life of a host that changed nothing else."""
        self.last_seen_s[self.row_of[name]] = at_s

    def set_aggregates(self, aggregates: Iterable[Aggregate]) -> None:
        """Replace all aggregates; hosts that the table does not know (yet) are simply not there."""
        self._aggregates = tuple(sorted(aggregates, key=lambda aggregate: aggregate.id))
        self._membership = None

    def up(self, down_after_s: float) -> NDArray[np.bool_]:
        """The hosts heard from within ``down_after_s`` before ``now_s``, which the table's owner sets."""
        return np.asarray(self.now_s - self.last_seen_s <= down_after_s, dtype=np.bool_)

    @property
    def aggregates(self) -> Membership:
        """The aggregates with the rows of their hosts."""
        if self._membership is None:
            self._membership = Membership(
                self.size,
                tuple(
                    (a, np.array(sorted(self.row_of[h] for h in a.hosts if h in self.row_of), dtype=np.intp))
                    for a in self._aggregates
                ),
            )
        return self._membership

    def at(self, row: int) -> HostRow:
        """What was put for a row; KeyError for a hole."""
        host = self.rows[row]
        if host is None:
            raise KeyError(row)
        return host

    def _forget_instances(self, row: int) -> None:
        host = self.rows[row]
        if host is not None:
            for instance in host.instances:
                if self.row_of_instance.get(instance) == row:
                    del self.row_of_instance[instance]

    def _new_row(self, name: str) -> int:
        if self._holes:
            row = self._holes.pop()
        else:
            row = self.size
            if row == len(self._full["alive"]):
                self._reserve(2 * row)
                self.cells.resize(2 * row)
            self.size += 1
            self.rows.append(None)
            if not self._filling:
                self._expose()
        self.row_of[name] = row
        self._membership = None
        return row

    def _kind(self, facts: HostFacts) -> int:
        if facts is self._last_facts[0]:  # a store that is read whole shares equal facts
            return self._last_facts[1]
        kind = HostKind(
            facts.hypervisor_type,
            facts.hypervisor_version,
            facts.supported_instances,
            msgspec.json.encode(facts.cpu_info, order="deterministic"),
        )
        number = self._kind_of.setdefault(kind, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
        self._last_facts = (facts, number)
        return number

    def _reserve(self, capacity: int) -> None:
        numbers = np.zeros((len(COLUMNS), capacity), dtype=np.float64)
        numbers[:, : self.size] = self._numbers[:, : self.size]
        self._numbers = numbers
        kinds = {"kind": np.intp, "alive": np.bool_, "enabled": np.bool_, "has_topology": np.bool_}
        for column, dtype in kinds.items():
            grown: NDArray[Any] = np.zeros(capacity, dtype=dtype)
            if column in self._full:
                grown[: self.size] = self._full[column][: self.size]
            self._full[column] = grown
        if not self._filling:
            self._expose()

    def _expose(self) -> None:
        for column, numbers in zip(COLUMNS, self._numbers, strict=True):
            setattr(self, column, numbers[: self.size])
        for column, full in self._full.items():
            setattr(self, column, full[: self.size])
        self.cells.resize(self.size)
