"""Nova's own filters and weighers as oracle, and random clouds to compare on.

The oracle program imports an installed nova; it lives with the shared data, and nova goes into a virtual environment of
its own under .cache, made on first use.
"""

import fcntl
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

NOVA = "nova==34.0.0"
FILTERS = (
    "Compute",
    "AggregateInstanceExtraSpecs",
    "ComputeCapabilities",
    "ImageProperties",
    "SameHost",
    "DifferentHost",
    "ServerGroupAntiAffinity",
    "ServerGroupAffinity",
    "AggregateMultiTenancyIsolation",
    "AggregateImagePropertiesIsolation",
    "AggregateTypeAffinity",
    "AggregateIoOps",
    "AggregateNumInstances",
    "Json",
    "Metrics",
    "IoOps",
    "NumInstances",
    "IsolatedHosts",
    "PciPassthrough",
)
IMAGE = "00000000-0000-0000-0000-000000000001"
"""The image's id in the oracle."""

CARD, GPU = ("8086", "1572"), ("10de", "1eb8")
WITHOUT_SUFFIX = ("AggregateMultiTenancyIsolation", "AggregateImagePropertiesIsolation")
METRICS = {"cpu.frequency": 1.0, "cpu.user.time": -0.5}


def nova_python(cache: Path) -> Path:
    """The interpreter of a virtual environment that has nova; installed there unless it is."""
    venv = cache / "nova"
    python = venv / "bin" / "python"
    cache.mkdir(exist_ok=True)
    with (cache / "nova.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / ".complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", NOVA], check=True)
            (venv / ".complete").touch()
    return python


def ask(
    python: Path, program: Path, cases: list[dict[str, Any]], *, imports: Path | None = None
) -> list[dict[str, Any]]:
    """The oracle's answers, a case each; ``imports``: the folder of modules that the program needs beside its own."""
    lines = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run(
        [python, program], cwd=imports or program.parent, input=lines, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(imports or program.parent)},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


SPECS = {
    "io": ("fast", "s== fast", "s!= slow", "<in> as", "<or> fast <or> slow", "<all-in> fa st", "s>= f", "s< g", ""),
    "aggregate_instance_extra_specs:io": ("slow", "fast", "s<= fast", "s> fast", "<in> slow fast"),
    "aggregate_instance_extra_specs:lvl": ("3", "= 3", "== 3", "!= 3", ">= 2", "<= 3", "<or> 3 <or> 4", "> 3", "="),
    "lvl": ("= 3", "s== 4", "3,4"),
    "other:io": ("fast",),
    "capabilities:cpu_info:vendor": ("Intel", "s== AMD", "<or> Intel <or> AMD"),
    "capabilities:cpu_info:topology:cores": ("= 2", "== 4", "4"),
    "capabilities:hypervisor_type": ("QEMU", "s!= QEMU"),
    "capabilities:free_ram_mb": ("= 1000", "<= 0"),
    "capabilities:cpu_info:features": ("<in> aes", "<all-in> aes avx"),
    "capabilities:nope": ("1",),
    "capabilities:cpu_allocation_ratio": ("16.0", ">= 4"),
    "gpu": ("4", ">= 1"),
    "vcpus_total": ("4", "= 8"),
    "capabilities:stats:gpu": ("4",),
    "capabilities:card:kind": ("T4", "s!= T4"),
    "capabilities:gpu:kind": ("T4",),
    "hw:maxphysaddr_bits": ("40", "46"),
}
METADATA = {
    "io": ("fast", "slow", "fast,slow", " slow , fast", ""),
    "lvl": ("3", "4", "2.5", "3, x"),
    "filter_tenant_id_2": ("p", ""),
    "filter_tenant_id": ("p", "q", "p, q"),
    "hw_architecture": ("x86_64", "aarch64"),
    "max_io_ops_per_host": ("3", "9", "x", "3,9", " 5 ", "2.5"),
    "max_instances_per_host": ("10", "100", "-1", "1e3"),
    "instance_type": ("f", "g", "g, f"),
    **{f"{weigher}_weight_multiplier": ("2.0", "-1", "x", "0", "", "1,2") for weigher in (
        "ram", "disk", "cpu", "io_ops", "metrics", "pci", "soft_affinity", "soft_anti_affinity", "num_instances",
        "build_failure", "hypervisor_version",
    )},
}  # fmt: skip
VERSIONS = (
    ">=7.0", "<8.0", ">=6.0,<7.5", "==7.2", "!=8.0, > 6", ">=8.0rc1", "<8.0.dev3", "==8.0+a", "<=7.2-1", ">v7.2.post1",
    "<12345678901.0", ">=1!1.0",
)  # fmt: skip
ALIASES = {vendor: f"{vendor}.{product}" for vendor, product in (CARD, GPU)}
QUERIES = (
    ["and", [">=", "$free_ram_mb", 1024], [">", "$vcpus_total", 4]],
    ["or", ["=", "$hypervisor_type", "QEMU"], ["in", "$host", "h0", "h1"]],
    ["not", ["<", "$num_instances", 10]],
    ["=", "$stats.gpu", "4"],
    ["in", "$hypervisor_version", 6000000, 8000000],
    ["and", ["not", ["=", "$cpu_info.vendor", "AMD"]], [">", "$free_disk_mb", 0, -5000]],
    ["or", ["=", "$nothing", 1], ["<=", "$vcpus_used", "$vcpus_total"]],
    ["=", "$host"],
    [],
    ["and", [], "", None],
)


def random_case(rng: random.Random) -> dict[str, Any]:
    """A small cloud with aggregates and one request, in the oracle's own words."""
    hosts = [_host(rng, number) for number in range(rng.randint(1, 8))]
    names = [host["name"] for host in hosts]
    instances = [instance for host in hosts for instance in host["instances"]]
    aggregates = [
        {
            "id": number + 1,
            "name": f"a{number}",
            "hosts": rng.sample(names, rng.randint(0, len(names))),
            "metadata": {key: rng.choice(values) for key, values in METADATA.items() if rng.random() < 0.2},
        }
        for number in range(rng.randint(0, 4))
    ]
    specs = {key: rng.choice(values) for key, values in SPECS.items() if rng.random() < 0.06}
    properties: dict[str, Any] = {}
    if rng.random() < 0.3:
        properties["hw_architecture"] = rng.choice(["x86_64", "aarch64", "amd64"])
    if rng.random() < 0.2:
        properties["img_hv_type"] = rng.choice(["kvm", "qemu"])
    if rng.random() < 0.2:
        properties["img_hv_requested_version"] = rng.choice(VERSIONS)
    if rng.random() < 0.1:
        properties["hw_vm_mode"] = rng.choice(["hvm", "xen"])
    if rng.random() < 0.1:
        properties["hw_maxphysaddr_bits"] = 42
    hints: dict[str, Any] = {}
    for hint in ("same_host", "different_host"):
        if instances and rng.random() < 0.2:
            hints[hint] = rng.sample(instances, min(len(instances), 2))
    if rng.random() < 0.15:
        hints["query"] = json.dumps(rng.choice(QUERIES))
    pci = []
    if rng.random() < 0.2:
        pci = [{"count": rng.choice([1, 2]), "vendor_id": rng.choice([CARD, GPU])[0]} for _ in range(rng.randint(1, 2))]
        specs["pci_passthrough:alias"] = ",".join(f"{ALIASES[one['vendor_id']]}:{one['count']}" for one in pci)
    return {
        "hosts": hosts,
        "aggregates": aggregates,
        "request": {
            "flavor": {"name": "f", "vcpus": 2, "memory_mb": 512, "root_gb": 1, "extra_specs": specs},
            "image": {"properties": properties},
            "hints": hints,
            "group": _group(rng, names, instances) if rng.random() < 0.5 else None,
            "ignore_hosts": rng.choice([None, ["h0"]]),
            "force_hosts": [rng.choice([*names, "h0", "nobody"])] if rng.random() < 0.1 else None,
            "pci": pci,
        },
        "filters": _filters(rng),
        "conf": {
            "metrics.weight_setting": [f"{name}={ratio}" for name, ratio in METRICS.items()],
            "metrics.required": False,
            "metrics.weight_multiplier": rng.choice([1.0, 1.0, 0.0, -2.0]),
            "filter_scheduler.max_io_ops_per_host": 9,
            "filter_scheduler.num_instances_weight_multiplier": 0.7,
            "filter_scheduler.isolated_images": rng.choice([[], [], [IMAGE]]),
            "filter_scheduler.isolated_hosts": rng.choice([[], [], ["h0"], ["h1", "h2"]]),
            "filter_scheduler.restrict_isolated_hosts_to_isolated_images": rng.random() < 0.5,
            "filter_scheduler.image_properties_default_architecture": rng.choice([None, None, "x86_64", "aarch64"]),
            "filter_scheduler.aggregate_image_properties_isolation_namespace": rng.choice([None, None, None, "hw_a"]),
            "filter_scheduler.aggregate_image_properties_isolation_separator": "r",
        },
    }


def _filters(rng: random.Random) -> list[str]:
    """None, some or all of them, in any order."""
    count = rng.choice([0, 1, 2, 3, len(FILTERS), len(FILTERS)])
    chosen = rng.sample(FILTERS, count) or ["AllHosts"]
    return [name if name in WITHOUT_SUFFIX else name + "Filter" for name in chosen]


def random_numa_case(rng: random.Random) -> dict[str, Any]:
    """A small cloud whose hosts have cells with guests on them, and one request about cells."""
    case = random_case(rng)
    case["filters"], case["aggregates"] = ["ComputeFilter", "NUMATopologyFilter"], []
    for host in case["hosts"]:
        host["disabled"], host["up"], host["memory_mb"] = False, True, 8192
        host["numa"] = {"cells": [_cell(rng, cell) for cell in (0, 1)]}
    specs = {"hw:cpu_policy": rng.choice(["dedicated", "dedicated", "shared"])}
    if specs["hw:cpu_policy"] == "dedicated" and rng.random() < 0.6:
        specs["hw:cpu_thread_policy"] = rng.choice(["prefer", "require", "isolate"])
    if specs["hw:cpu_policy"] == "shared" or rng.random() < 0.5:
        specs["hw:numa_nodes"] = rng.choice(["1", "2"])
    flavor = {"vcpus": rng.choice([2, 4, 6, 8]), "memory_mb": rng.choice([512, 2048]), "extra_specs": specs}
    case["request"] = {**case["request"], "flavor": {**case["request"]["flavor"], **flavor}}
    case["request"] |= {"image": {"properties": {}}, "hints": {}, "group": None, "force_hosts": None, "pci": []}
    return case


def _cell(rng: random.Random, number: int) -> dict[str, Any]:
    """Four cores with two threads each, the second threads numbered after all first ones."""
    cores = [[4 * number + core, 8 + 4 * number + core] for core in range(4)]
    pcpus = sorted(cpu for core in cores for cpu in core)
    pinned = rng.sample(pcpus, rng.choice([0, 0, 2, 3, 5, 8]))
    floating = rng.choice([0, 0, 4, 12])
    return {
        "id": number,
        "cpuset": pcpus,
        "memory_mb": 4096,
        "siblings": cores,
        "pinned_cpus": sorted(pinned),
        "cpu_usage": len(pinned) + floating,
        "memory_usage": rng.choice([0, 512, 3072]),
    }


def _host(rng: random.Random, number: int) -> dict[str, Any]:
    ram_mb, disk_gb = rng.choice([4096, 8192, 16384]), rng.choice([10, 100])
    return {
        "name": f"h{number}",
        "vcpus": rng.choice([4, 8, 16]),
        "vcpus_used": rng.randint(0, 40),
        "memory_mb": ram_mb,
        "memory_mb_used": rng.randint(0, ram_mb * 2),
        "local_gb": disk_gb,
        "free_disk_gb": rng.randint(-5, disk_gb),
        "disk_available_least": rng.choice([None, rng.randint(0, disk_gb)]),
        "cpu_allocation_ratio": rng.choice([1.0, 4.0, 16.0]),
        "ram_allocation_ratio": rng.choice([1.0, 1.5]),
        "hypervisor_type": rng.choice(["QEMU", "Xen"]),
        "hypervisor_version": rng.choice([6000000, 7002000, 8000000]),
        "cpu_info": {
            "vendor": rng.choice(["Intel", "AMD"]),
            "features": rng.sample(["aes", "avx", "sse"], 2),
            "topology": {"cores": rng.choice([2, 4])},
            **rng.choice([{}, {}, {"maxphysaddr": {"mode": "passthrough", "bits": rng.choice([40, 46])}}]),
        },
        "supported_instances": rng.choice(
            [[["x86_64", "kvm", "hvm"]], [["aarch64", "kvm", "hvm"], ["x86_64", "qemu", "hvm"]]]
        ),
        "stats": {
            "io_workload": rng.randint(0, 10),
            "num_instances": rng.randint(0, 60),
            "failed_builds": rng.choice([0, 0, 1, 3]),
            "gpu": rng.choice(["1", "4"]),
            "card": rng.choice(['{"kind": "T4"}', '{"kind": "A2"}', '{"kind']),
        },
        "metrics": [
            {"name": name, "value": rng.randint(0, 10), "source": "s", "timestamp": "2020-01-01T00:00:00.000000"}
            for name in rng.sample(sorted(METRICS), rng.choice([0, 1, 2, 2]))
        ],
        "pci_pools": [
            {"vendor_id": vendor, "product_id": product, "count": rng.choice([1, 2, 3])}
            for vendor, product in rng.sample([CARD, GPU], rng.choice([0, 0, 1, 2]))
        ],
        "instances": [f"i{number}-{instance}" for instance in range(rng.randint(0, 3))],
        "disabled": rng.random() < 0.1,
        "up": rng.random() > 0.1,
    }


def _group(rng: random.Random, names: list[str], instances: list[str]) -> dict[str, Any]:
    policy = rng.choice(["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"])
    return {
        "policy": policy,
        "members": rng.sample(instances, min(len(instances), rng.randint(0, 4))),
        "hosts": rng.sample(names, rng.randint(0, min(2, len(names)))),
        "rules": rng.choice([{}, {"max_server_per_host": 2}, {"max_server_per_host": 3}])
        if policy == "anti-affinity"
        else {},
    }
