"""The scheduler's metrics in Prometheus' text."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from agent.scheduler.service import Scheduler
from agent.scheduler.store.database import transaction
from agent.scheduler.store.instances import count_instances
from agent.scheduler.views import count_hosts


def render_metrics(scheduler: Scheduler) -> str:
    """Hosts by state, instances by status, pCPUs owned and free, and how decisions went."""
    registry = CollectorRegistry()
    hosts = Gauge("cellwright_hosts", "Hosts by state.", ["state", "status"], registry=registry)
    owned = Gauge("cellwright_pcpus_owned", "pCPUs that pinned guests own.", registry=registry)
    instances = Gauge("cellwright_instances", "Instances by status.", ["status"], registry=registry)
    free = Gauge("cellwright_pcpus_free", "Dedicated pCPUs that nobody owns.", registry=registry)
    for (state, status), count in count_hosts(scheduler).items():
        hosts.labels(state, status).set(count)
    with scheduler.lock:
        cloud = scheduler.cloud
        usages = [cloud.usage(host.name) for host in cloud.hosts()]
        free.set(int(np.maximum(cloud.table.cells.free, 0).sum()))
    owned.set(sum(len(cell.pinned) for usage in usages for cell in usage.cells))
    with transaction(scheduler.engine) as connection:
        for status, count in count_instances(connection).items():
            instances.labels(status).set(count)
    return str(generate_latest(registry), "utf-8") + scheduler.tally.render()
