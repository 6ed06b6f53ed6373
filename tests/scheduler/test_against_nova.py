"""Nova's own filters and weighers on random clouds: the same hosts pass, with the same weights, in the same order."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import convert
from msgspec.structs import replace

from agent.core.cpuset import CpuSet
from agent.core.facts import HostFacts
from agent.core.request import Flavor, Image, Request
from agent.core.topology import Device
from agent.core.usage import CellUsage, Limits, PageUse, Usage
from agent.inspection.synthetic import parse_synthetic
from agent.placement.layout import layout_of
from agent.placement.room import Room, measure_room
from agent.scheduler.aggregates import Aggregate
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import candidates
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Group, Wanted
from agent.scheduler.weigh import best_first, weigh
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.nova import IMAGE, METRICS, ask, nova_python, random_case, random_numa_case

CASES = 1500


CELLS = parse_synthetic("socket:2 core:4 thread:2 memory:4GiB")
WEIGHERS = ("RAM", "Disk", "CPU", "IoOps", "NumInstances", "BuildFailure", "HypervisorVersion", "PCI", "Metrics")


def room_of(numa: dict[str, Any], limits: Limits) -> Room:
    cells = tuple(
        CellUsage(
            cell["id"],
            CpuSet(cell["pinned_cpus"]),
            floating_vcpus=cell["cpu_usage"],  # Nova counts pinned vCPUs against the ratio too
            memory_kib=cell["memory_usage"] << 10,
            pages=(PageUse(4, cell["memory_usage"] << 8),),
        )
        for cell in numa["cells"]
    )
    return measure_room(layout_of(CELLS), Usage(cells), limits)


def devices_of(host: dict[str, Any]) -> Iterator[Device]:
    for pool in host["pci_pools"]:
        for number in range(pool["count"]):
            vendor, product = pool["vendor_id"], pool["product_id"]
            yield Device(kind="other", name="", pci=f"0000:{vendor}:{number}.0", vendor=vendor, product=product)


def table_of(case: dict[str, Any]) -> HostTable:
    table = HostTable()
    table.now_s = 1000.0
    for host in case["hosts"]:
        facts = HostFacts(
            hypervisor_type=host["hypervisor_type"],
            hypervisor_version=host["hypervisor_version"],
            cpu_info=host["cpu_info"],
            supported_instances=tuple((a, h, m) for a, h, m in host["supported_instances"]),
            stats={key: str(value) for key, value in host["stats"].items()},
            metrics={metric["name"]: metric["value"] for metric in host["metrics"]},
            disk_gb=host["local_gb"],
            disk_available_least_gb=host["disk_available_least"],
            limits=Limits(
                cpu_allocation_ratio=host["cpu_allocation_ratio"],
                ram_allocation_ratio=host["ram_allocation_ratio"],
            ),
        )
        table.put(
            HostRow(
                name=host["name"],
                facts=facts,
                topology=CELLS if "numa" in host else None,
                room=room_of(host["numa"], facts.limits) if "numa" in host else None,
                vcpus=host["vcpus"],
                vcpus_used=host["vcpus_used"],
                ram_mb=host["memory_mb"],
                free_ram_mb=host["memory_mb"] - host["memory_mb_used"],
                free_disk_gb=host["free_disk_gb"],
                instances=frozenset(host["instances"]),
                devices=tuple(devices_of(host)),
                enabled=not host["disabled"],
                last_seen_s=1000.0 if host["up"] else 0.0,
            )
        )
    table.set_aggregates(
        Aggregate(id=a["id"], name=a["name"], metadata=a["metadata"], hosts=frozenset(a["hosts"]))
        for a in case["aggregates"]
    )
    return table


def wanted_of(case: dict[str, Any]) -> Wanted:
    asked = case["request"]
    flavor, group = asked["flavor"], asked["group"]
    return Wanted(
        request=Request(
            flavor=Flavor(
                name=flavor["name"],
                vcpus=flavor["vcpus"],
                ram_mb=flavor["memory_mb"],
                disk_gb=flavor["root_gb"],
                extra_specs=flavor["extra_specs"],
            ),
            image=Image(name=IMAGE, properties=asked["image"]["properties"]),
            hints=asked["hints"],
            availability_zone=asked.get("availability_zone"),
            ignore_hosts=tuple(asked["ignore_hosts"] or ()),
            force_host=(asked["force_hosts"] or [None])[0],
        ),
        project="p",
        group=group
        and Group(
            name="g",
            policy=group["policy"],
            members=frozenset(group["members"]),
            hosts=frozenset(group["hosts"]),
            max_server_per_host=group["rules"].get("max_server_per_host", 1),
        ),
    )


def settings_of(case: dict[str, Any]) -> SchedulingSettings:
    group = "filter_scheduler."
    own = {key.removeprefix(group): value for key, value in case["conf"].items() if key.startswith(group)}
    multipliers = {key: own.pop(key) for key in list(own) if key.endswith("_weight_multiplier")}
    multipliers["metrics_weight_multiplier"] = case["conf"]["metrics.weight_multiplier"]
    return convert(
        {"filters": case["filters"], "metrics_weights": METRICS, "multipliers": multipliers, **own},
        SchedulingSettings,
    )


def test_hosts_with_cells_in_exact_mode_the_same_hosts_in_the_same_order(shared_data: Path, pytestconfig: Any) -> None:
    rng = random.Random(36)
    cases = [random_numa_case(rng) for _ in range(CASES // 3)]
    python = nova_python(pytestconfig.rootpath / ".cache")
    answers = ask(python, shared_data.parent / "nova" / "sched_oracle.py", cases)
    filters, weighers = all_filters(), all_weighers()
    refused = 0
    for case, nova in zip(cases, answers, strict=True):
        assert nova["error"] in (None, "NoValidHost"), nova
        table, wanted = table_of(case), wanted_of(case)
        exact = replace(settings_of(case), numa_exact=True, weighers=WEIGHERS)
        rows, trace = candidates(table, wanted, filters=chosen_filters(exact, filters), settings=exact)
        names = [table.at(int(row)).name for row in rows]
        assert names == nova["per_filter"][-1][1], (case, trace)
        refused += len(case["hosts"]) - len(names)
        weights, *_ = weigh(table, wanted, rows=rows, weighers=chosen_weighers(exact, weighers), settings=exact)
        order = [names[position] for position in best_first(weights)]
        assert order == [host["name"] for host in nova["hosts"]], case
    assert CASES // 6 < refused < CASES


def test_same_hosts_same_weights_same_order(shared_data: Path, pytestconfig: Any) -> None:
    rng = random.Random(34)
    cases = [random_case(rng) for _ in range(CASES)]
    python = nova_python(pytestconfig.rootpath / ".cache")
    answers = ask(python, shared_data.parent / "nova" / "sched_oracle.py", cases)
    filters, weighers = all_filters(), all_weighers()
    passed = weighed = 0
    for case, nova in zip(cases, answers, strict=True):
        if nova["error"] not in (None, "NoValidHost"):
            continue  # Nova itself broke on the input, for example comparing text with a number
        table, wanted, settings = table_of(case), wanted_of(case), settings_of(case)
        rows, trace = candidates(table, wanted, filters=chosen_filters(settings, filters), settings=settings)
        names = [table.at(int(row)).name for row in rows]
        assert names == nova["per_filter"][-1][1], (case, trace)
        passed += 1
        if names:
            weights, *_ = weigh(
                table, wanted, rows=rows, weighers=chosen_weighers(settings, weighers), settings=settings
            )
            order = list(best_first(weights))
            assert [names[position] for position in order] == [host["name"] for host in nova["hosts"]], case
            theirs = [host["weight"] for host in nova["hosts"]]
            np.testing.assert_allclose(weights[order], theirs, rtol=1e-9, atol=1e-9)
            weighed += 1
    assert passed > CASES * 0.9
    assert weighed > CASES * 0.4


RATIOS = ("cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio")
ZONES = ("az1", "az2", "az1,az2", " az2 ", "nova")
SIZES = {"Core": RATIOS[0], "Ram": RATIOS[1], "Disk": RATIOS[2]}


def random_sizes(rng: random.Random) -> dict[str, Any]:
    """A random cloud whose aggregates have ratios and zones, and a request of any size."""
    case = random_case(rng)
    for aggregate in case["aggregates"]:
        aggregate["metadata"] |= {
            key: rng.choice(("2.0", "0.5", "16", "x", "1,2")) for key in RATIOS if rng.random() < 0.4
        }
        if rng.random() < 0.4:
            aggregate["metadata"]["availability_zone"] = rng.choice(ZONES)
    flavor = {"vcpus": rng.randint(1, 20), "memory_mb": rng.randint(1, 20000), "root_gb": rng.randint(0, 120)}
    case["request"]["flavor"] = {"name": "f", "extra_specs": {}, **flavor}
    case["request"] |= {"availability_zone": rng.choice((None, "az1", "az2", "nova")), "ignore_hosts": None}
    case["request"]["force_hosts"] = None
    return case


def as_published(case: dict[str, Any], rule: str, host: dict[str, Any]) -> bool:
    """What Nova's filter said of a host before it was removed, a host at a time."""
    metadata = [one["metadata"] for one in case["aggregates"] if host["name"] in one["hosts"]]
    if rule == "AvailabilityZone":
        asked, key = case["request"]["availability_zone"], "availability_zone"
        zones = {zone.strip() for one in metadata if key in one for zone in one[key].split(",")}
        return not asked or asked in (zones or {"nova"})
    flavor, what = case["request"]["flavor"], rule.removeprefix("Aggregate")
    ratio, key = host.get(SIZES[what], 1.0), SIZES[what]
    values = {one[key] for one in metadata if key in one} if rule.startswith("Aggregate") else set()
    if values:
        with suppress(ValueError):
            ratio = min(map(float, values))
    if what == "Core":
        wanted, total, used = flavor["vcpus"], host["vcpus"], host["vcpus_used"]
    elif what == "Ram":
        wanted, total, used = flavor["memory_mb"], host["memory_mb"], host["memory_mb_used"]
    else:
        least_gb = host["disk_available_least"]
        free_gb = host["free_disk_gb"] if least_gb is None else min(host["free_disk_gb"], least_gb)
        wanted, total = flavor["root_gb"] * 1024, host["local_gb"] * 1024
        used = total - free_gb * 1024
    return bool(wanted <= total and total * ratio - used >= wanted)


@pytest.mark.parametrize("rule", ["AvailabilityZone", *SIZES, *(f"Aggregate{name}" for name in SIZES)])
def test_what_nova_has_removed_does_what_was_published(rule: str) -> None:
    rng = random.Random(18)
    chosen = chosen_filters(SchedulingSettings(filters=(f"{rule}Filter",)), all_filters())
    passed = refused = 0
    for case in (random_sizes(rng) for _ in range(CASES // 5)):
        table, wanted = table_of(case), wanted_of(case)
        rows, _ = candidates(table, wanted, filters=chosen, settings=SchedulingSettings())
        names = [host["name"] for host in case["hosts"] if as_published(case, rule, host)]
        assert [table.at(int(row)).name for row in rows] == names, case
        passed += len(names)
        refused += len(case["hosts"]) - len(names)
    assert passed > CASES // 10
    assert refused > CASES // 10
