"""BuildFailure, HypervisorVersion, PCI and Metrics: the host's record, its software, its devices, its measurements."""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Column
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weighers import Weigher
from agent.settings.scheduling import SchedulingSettings

MOST_DEVICES = 100
METRICS = "metrics_weight_multiplier"


def _devices(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column:
    """Hosts with fewer free devices score higher: guests that ask for devices stack, others keep away."""
    return np.asarray(MOST_DEVICES - np.minimum(table.free_devices, MOST_DEVICES - 1), dtype=np.float64)


def _metrics(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Column | None:
    """Σ value × configured ratio; a host that lacks a metric goes last (the Metrics filter keeps it out entirely).

    Where its ratio or the host's multiplier is 0 a metric may lack.
    """
    if not settings.metrics_weights:
        return None
    multiplier = table.aggregates.least(METRICS, settings.multiplier(METRICS))
    minded = np.broadcast_to(np.asarray(multiplier), table.size) != 0
    score = np.zeros(table.size)
    for row in np.flatnonzero(table.alive).tolist():
        host = table.at(row)
        for name, ratio in settings.metrics_weights.items():
            value = host.facts.metrics.get(name)
            if value is not None:
                score[row] += value * ratio
            elif ratio != 0 and minded[row]:
                score[row] = settings.metrics_weight_of_unavailable
                break
    return score


WEIGHERS = (
    Weigher("BuildFailure", "build_failure_weight_multiplier", lambda t, w, s: t.failed_builds, sign=-1),
    Weigher("HypervisorVersion", "hypervisor_version_weight_multiplier", lambda t, w, s: t.hypervisor_version),
    Weigher("PCI", "pci_weight_multiplier", _devices),
    Weigher("Metrics", METRICS, _metrics),
)
