"""Which of two hosts each weigher prefers, with its default multiplier and with the opposite one."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from agent.scheduler.aggregates import Aggregate
from agent.scheduler.registry import all_weighers
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Group, Wanted
from agent.scheduler.weigh import weigh
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.tables import row, wish

RULES = all_weighers([])
TABLE = [
    # (weigher, what host "a" has, what host "b" has, who wins, why)
    ("RAM", {"free_ram_mb": 900}, {"free_ram_mb": 100}, "a", "more free memory"),
    ("Disk", {"free_disk_gb": 1}, {"free_disk_gb": 9}, "b", "more free disk"),
    ("CPU", {"vcpus_used": 7}, {"vcpus_used": 1}, "b", "more vCPUs left"),
    ("CPU", {"vcpus_used": 7, "cpu_ratio": 4.0}, {"vcpus_used": 1}, "a", "left after overcommit"),
    ("IoOps", {"facts": {"stats": {"io_workload": "5"}}}, {}, "b", "fewer operations under way"),
    ("BuildFailure", {"facts": {"stats": {"failed_builds": "1"}}}, {}, "b", "no failed builds"),
    ("HypervisorVersion", {"facts": {"hypervisor_version": 8_000_000}}, {}, "a", "newer software"),
    ("PCI", {"devices": {("8086", "1"): 2}}, {}, "b", "devices are kept for those that ask"),
    ("ServerGroupSoftAffinity", {"instances": frozenset({"m"})}, {}, "a", "near its group"),
    ("ServerGroupSoftAntiAffinity", {"instances": frozenset({"m"})}, {}, "b", "away from its group"),
]
GROUPS = {"ServerGroupSoftAffinity": "soft-affinity", "ServerGroupSoftAntiAffinity": "soft-anti-affinity"}


def weights(rule: str, hosts: tuple[HostRow, ...], wanted: Wanted, **more: Any) -> list[float]:
    table = HostTable()
    for host in hosts:
        table.put(host)
    table.set_aggregates(more.pop("aggregates", ()))
    settings = SchedulingSettings(**more)
    found, *_ = weigh(table, wanted, rows=np.arange(len(hosts)), weighers=(RULES[rule],), settings=settings)
    return [float(weight) for weight in found]


def asked(rule: str) -> Wanted:
    policy = GROUPS.get(rule)
    return replace(wish(), group=Group(name="g", policy=policy, members=frozenset({"m"})) if policy else None)


@pytest.mark.parametrize(("rule", "a", "b", "winner", "why"), TABLE, ids=[f"{r[0]}: {r[4]}" for r in TABLE])
def test_table(rule: str, a: dict[str, Any], b: dict[str, Any], winner: str, why: str) -> None:
    hosts = (row("a", **a), row("b", **b))
    one, other = weights(rule, hosts, asked(rule))
    assert ("a" if one > other else "b" if other > one else "") == winner, why
    key = RULES[rule].multiplier
    turned = -SchedulingSettings().multiplier(key)
    assert weights(rule, hosts, asked(rule), multipliers={key: turned}) == [-one, -other]


def test_equal_hosts_weigh_nothing_and_a_single_one_is_not_weighed() -> None:
    assert weights("RAM", (row("a"), row("b")), wish()) in ([1.0, 1.0], [0.0, 0.0])
    assert weights("RAM", (row("a"),), wish()) == [0.0]


def test_an_aggregates_multiplier_counts_for_its_hosts_the_least_of_several() -> None:
    hosts = (row("a", free_ram_mb=1000), row("b", free_ram_mb=1000), row("c", free_ram_mb=0))
    both = [
        Aggregate(id=1, name="x", metadata={"ram_weight_multiplier": "5"}, hosts=frozenset({"a"})),
        Aggregate(id=2, name="y", metadata={"ram_weight_multiplier": "3"}, hosts=frozenset({"a"})),
    ]
    assert weights("RAM", hosts, wish(), aggregates=both) == [3.0, 1.0, 0.0]
    none = [Aggregate(id=1, name="x", metadata={"ram_weight_multiplier": "nan"}, hosts=frozenset({"a"}))]
    assert weights("RAM", hosts, wish(), aggregates=none) == [1.0, 1.0, 0.0], "no number: the configured one"


def test_metrics_are_summed_by_their_ratios_and_a_host_without_them_goes_last() -> None:
    hosts = tuple(row(name, facts={"metrics": metrics}) for name, metrics in (("a", {"x": 1.0}), ("b", {"x": 3.0})))
    found = weights("Metrics", (*hosts, row("c")), wish(), metrics_weights={"x": 2.0})
    assert found[1] > found[0] > found[2]
