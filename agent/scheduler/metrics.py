"""The scheduler's metrics in Prometheus' text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from agent.scheduler.service import Scheduler
from agent.scheduler.views import view_hosts, view_instances


def render_metrics(scheduler: Scheduler) -> str:
    """Hosts by state, instances by status, pCPUs owned and free, and how decisions went."""
    registry = CollectorRegistry()
    hosts = Gauge("cellwright_hosts", "Hosts by state.", ["state", "status"], registry=registry)
    pinned = Gauge("cellwright_pcpus_owned", "pCPUs that pinned guests own.", registry=registry)
    instances = Gauge("cellwright_instances", "Instances by status.", ["status"], registry=registry)
    for host in view_hosts(scheduler):
        hosts.labels(host.state, host.status).inc()
        pinned.inc(int(host.pinned.partition("/")[0]))
    for instance in view_instances(scheduler):
        instances.labels(instance.status).inc()
    return str(generate_latest(registry), "utf-8") + scheduler.tally.render()
