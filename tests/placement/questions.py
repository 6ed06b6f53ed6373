"""Random questions in the whole request language, and the same question in the words of Nova's oracle."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from agent.core.cpuset import CpuSet
from agent.core.request import Flavor, Image, Request
from agent.core.topology import Cell, Core, Device, HostTopology, PagePool
from agent.core.usage import CellUsage, Limits, PageUse, ReservedPages, Usage

Question = tuple[HostTopology, Usage, Request, Limits | None]
NIC = "8086.1572"
GIB = 1 << 20


def random_question(rng: random.Random) -> Question:
    host = random_host(rng)
    return host, random_usage(rng, host), random_request(rng, host), random_limits(rng, host)


def random_host(rng: random.Random) -> HostTopology:
    """One to four cells, alike or not, with gaps in ids, cores with lost threads, and any division into sets."""
    threads = rng.choice([1, 2, 2, 2, 4])
    alike = rng.random() < 0.5
    cells: list[Cell] = []
    next_cpu = next_id = 0
    cores_each = rng.randint(1, 8)
    memory_gib = rng.choice([4, 16])
    for number in range(rng.randint(1, 4)):
        cores_here = cores_each if alike else rng.randint(1, 8)
        cores = []
        for core in range(cores_here):
            count = threads if rng.random() < 0.95 else rng.randint(1, threads)
            cores.append(Core(number // 2, 0, core, CpuSet(range(next_cpu, next_cpu + count))))
            next_cpu += count
        pools = [PagePool(4, memory_gib * GIB // 4)]
        if rng.random() < 0.7:
            huge = rng.choice([0, 256, 1024])
            pools = [PagePool(4, (memory_gib * GIB - huge * 2048) // 4), PagePool(2048, huge)]
            if rng.random() < 0.4:
                pools.append(PagePool(GIB, rng.choice([0, 2, 4])))
        next_id += rng.random() < 0.1
        cells.append(
            Cell(
                next_id,
                CpuSet(cpu for core in cores for cpu in core.cpus),
                memory_gib * GIB,
                pages=tuple(pools),
                cores=tuple(cores),
                devices=_devices(rng, number),
            )
        )
        next_id += 1
    loose = tuple(Device("net", "loose0", f"0000:ff:0{n}.0", "8086", "1572") for n in range(rng.choice([0, 0, 1])))
    online = CpuSet(range(next_cpu))
    dedicated, shared = _sets(rng, cells, online)
    return HostTopology(
        hostname="random",
        online=online,
        cells=tuple(cells),
        dedicated_set=dedicated,
        shared_set=shared,
        unplaced_devices=loose,
    )


def _devices(rng: random.Random, number: int) -> tuple[Device, ...]:
    count = rng.choice([0, 0, 0, 1, 2])
    return tuple(Device("net", f"eno{number}{n}", f"0000:{number:02x}:0{n}.0", "8086", "1572") for n in range(count))


def _sets(rng: random.Random, cells: list[Cell], online: CpuSet) -> tuple[CpuSet | None, CpuSet | None]:
    some = CpuSet(cpu for cpu in online if rng.random() < 0.7)
    whole = CpuSet(cpu for cell in cells for core in cell.cores if rng.random() < 0.7 for cpu in core.cpus)
    first = CpuSet(core.cpus.first() for cell in cells for core in cell.cores)
    kind = rng.choice(["unset", "legacy", "split", "cores", "siblings", "one-thread", "dedicated", "shared"])
    if kind in ("dedicated", "legacy", "shared", "split") and not some:
        kind = "unset"
    return {
        "unset": (None, None),
        "legacy": (some, some),
        "split": (some, online - some),
        "cores": (whole, online - whole),
        "siblings": (first, online - first),
        "one-thread": (first, CpuSet()),
        "dedicated": (some, CpuSet()),
        "shared": (CpuSet(), some),
    }[kind]


def random_usage(rng: random.Random, host: HostTopology) -> Usage:
    full = rng.choice([0, 0, 0.2, 0.5, 0.8])
    cells = []
    for cell in host.cells:
        pinned = CpuSet(cpu for cpu in cell.cpus & host.dedicated() if rng.random() < full)
        memory_kib = rng.choice([0, 0, GIB, 3 * GIB])
        pages = []
        for pool in cell.pages:
            used = min(pool.total, memory_kib // pool.size_kib) if pool.size_kib == 4 else rng.randint(0, pool.total)
            pages.append(PageUse(pool.size_kib, used))
        cells.append(CellUsage(cell.id, pinned, rng.choice([0, 0, 2, 8]), memory_kib, tuple(pages)))
    return Usage(tuple(cells))


def random_limits(rng: random.Random, host: HostTopology) -> Limits | None:
    if rng.random() < 0.3:
        return None
    cell = rng.choice(host.cells)
    reserved = ()
    if len(cell.pages) > 1 and rng.random() < 0.3:
        reserved = (ReservedPages(cell.id, 2048, rng.choice([1, 100, 256])),)
    return Limits(
        cpu_allocation_ratio=rng.choice([1.0, 1.5, 4.0]),
        ram_allocation_ratio=rng.choice([1.0, 1.5]),
        reserved_huge_pages=reserved,
    )


WORDS: dict[str, tuple[float, tuple[str, ...], tuple[str, ...]]] = {
    # how often a key is there, its right values, and values that are refused
    "hw:cpu_policy": (0.8, ("dedicated", "dedicated", "dedicated", "mixed", "shared"), ("Dedicated", "pinned")),
    "hw:cpu_thread_policy": (0.3, ("prefer", "isolate", "require"), ("avoid", "any")),
    "hw:emulator_threads_policy": (0.25, ("isolate", "share"), ("none",)),
    "hw:cpu_realtime": (0.1, ("yes", "true", "1", "no", "on", "off"), ()),
    "hw:mem_page_size": (
        0.4,
        ("small", "large", "any", "2048", "2MB", "2MiB", "1GB", "1048576", "4", "64", "2048KB", "1.5MB", "0.5GB"),
        ("-1", "huge", "2M", "LARGE"),
    ),
    "hw:locked_memory": (0.03, ("true", "false", "yes"), ()),
    "hw:cpu_sockets": (0.04, ("1", "2", "3"), ("x",)),
    "hw:cpu_threads": (0.04, ("1", "2", "5"), ("1.5",)),
    "hw:cpu_cores": (0.03, ("1", "4"), ("x",)),
    "hw:cpu_max_sockets": (0.02, ("2", "64"), ("x",)),
    "hw:cpu_max_threads": (0.02, ("2", "64"), ("x",)),
    "hw:cpu_max_cores": (0.02, ("2", "64"), ("x",)),
    "trait:HW_CPU_HYPERTHREADING": (0.06, ("required", "forbidden"), ()),
    "hw:mem_encryption": (0.02, ("true", "false"), ()),
}
PROPERTIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "hw_cpu_policy": (0.1, ("dedicated", "dedicated", "shared", "mixed")),
    "hw_cpu_thread_policy": (0.08, ("prefer", "isolate", "require")),
    "hw_numa_nodes": (0.03, ("1", "2")),
    "hw_mem_page_size": (0.05, ("small", "2MB", "any", "2048", "large")),
    "hw_cpu_sockets": (0.03, ("1", "2")),
    "hw_cpu_threads": (0.03, ("1", "2")),
    "hw_cpu_max_sockets": (0.02, ("4", "128")),
    "hw_cpu_max_threads": (0.02, ("1", "4")),
    "hw_locked_memory": (0.02, ("true", "false")),
    "hw_cpu_realtime_mask": (0.04, ("^0", "1-2", "0")),
    "hw_mem_encryption": (0.02, ("true", "false")),
    "hw_firmware_type": (0.1, ("uefi", "bios")),
    "trait:HW_CPU_HYPERTHREADING": (0.03, ("required",)),
}
WRONG = 0.03


def random_request(rng: random.Random, host: HostTopology) -> Request:
    """A request with a random part of all keys, most values right, some wrong."""
    cells = min(rng.choice([1, 1, 2, 2, 3, 4]), len(host.cells) + (rng.random() < 0.1))
    per_cell = [rng.randint(1, rng.choice([2, 4, len(host.cells[0].cpus)])) for _ in range(cells)]
    mib = [rng.choice([2, 256, 512, 1024, 1024, 2048, 3072]) for _ in range(cells)]
    if rng.random() < 0.6:
        per_cell, mib = per_cell[:1] * cells, mib[:1] * cells
    vcpus = sum(per_cell)
    specs: dict[str, str | int | float | bool] = {}
    for key, (often, right, wrong) in WORDS.items():
        if rng.random() < often:
            specs[key] = rng.choice(wrong if wrong and rng.random() < WRONG else right)
    if specs.get("hw:cpu_policy") not in ("dedicated", "mixed") and rng.random() < 0.9:
        for key in ("hw:cpu_thread_policy", "hw:emulator_threads_policy", "hw:cpu_realtime"):
            specs.pop(key, None)
    if cells > 1 or rng.random() < 0.8:
        specs["hw:numa_nodes"] = str(cells)
    if rng.random() < 0.02:
        specs["hw:numa_nodes"] = rng.choice(["0", "-1", "x", "1.0", "7", " 1"])
    if rng.random() < 0.4:
        _spell_out(rng, specs, per_cell, mib)
    if specs.get("hw:cpu_policy") == "mixed" or rng.random() < 0.03:
        specs["hw:cpu_dedicated_mask"] = _mask(rng, vcpus)
    if "hw:cpu_realtime" in specs and rng.random() < 0.9:
        specs["hw:cpu_realtime_mask"] = _mask(rng, vcpus)
        if specs.get("hw:cpu_policy") == "mixed" and rng.random() < 0.7:
            del specs["hw:cpu_dedicated_mask"]
    if rng.random() < 0.08:
        specs.pop("hw:cpu_policy", None)
        specs["resources:PCPU"] = str(vcpus + rng.choice([0, 0, 0, 1]))
        if rng.random() < 0.1:
            specs["resources:VCPU"] = "1"
    elif rng.random() < 0.03:
        specs["resources:VCPU"] = str(vcpus)
    properties: dict[str, str | int | float | bool] = {
        key: rng.choice(values) for key, (often, values) in PROPERTIES.items() if rng.random() < often
    }
    if any(cell.devices for cell in host.cells) and rng.random() < 0.5:
        specs["pci_passthrough:alias"] = f"{NIC}:{rng.choice([1, 1, 2, 3])}"
        if rng.random() < 0.8:
            specs["hw:pci_numa_affinity_policy"] = rng.choice(["required", "preferred", "legacy", "socket"])
        if rng.random() < 0.1:
            properties["hw_pci_numa_affinity_policy"] = rng.choice(["required", "preferred", "legacy", "socket"])
    flavor = Flavor(vcpus=vcpus, ram_mb=sum(mib), name="f", extra_specs=specs)
    return Request(name="g", flavor=flavor, image=Image(properties=properties))


def _spell_out(rng: random.Random, specs: dict[str, Any], per_cell: list[int], mib: list[int]) -> None:
    """``hw:numa_cpus.N`` and ``hw:numa_mem.N``, now and then one off or one missing."""
    first = 0
    for number, (count, size) in enumerate(zip(per_cell, mib, strict=True)):
        last = first + count - 1
        if rng.random() < 0.01:
            last += rng.choice([-1, 1])
        specs[f"hw:numa_cpus.{number}"] = f"{first}-{last}"
        specs[f"hw:numa_mem.{number}"] = str(size + (rng.random() < 0.01))
        first += count
    if rng.random() < 0.03:
        del specs[rng.choice([key for key in specs if key.startswith("hw:numa_") and key.endswith(".0")])]


def _mask(rng: random.Random, vcpus: int) -> str:
    first = rng.randint(0, max(0, vcpus - 1))
    last = rng.randint(first, max(first, vcpus - 1))
    wild = rng.choice(["^0-1", f"0-{vcpus}", f"0-{max(0, vcpus - 1)}"])
    return rng.choice([f"{first}-{last}", f"^{first}", str(first), f"{first},{last}"] * 5 + [wild])


def in_nova_words(question: Question) -> dict[str, Any]:
    """The question as oracle.py wants it: what the libvirt driver would report of such a host."""
    host, usage, request, limits = question
    used = {cell.id: cell for cell in usage.cells}
    cells = []
    for cell in host.cells:
        held = used.get(cell.id, CellUsage(cell.id))
        dedicated, shared = cell.cpus & host.dedicated(), cell.cpus & host.shared()
        pages_used = {page.size_kib: page.used for page in held.pages}
        kept = {
            own.size_kib: own.count for own in (limits.reserved_huge_pages if limits else ()) if own.cell == cell.id
        }
        siblings = [core.cpus & (dedicated | shared) for core in cell.cores]
        cells.append(
            {
                "id": cell.id,
                "cpuset": list(shared),
                "pcpuset": list(dedicated),
                "memory_mb": (cell.memory_kib or 0) // 1024,
                "siblings": [list(threads) for threads in siblings if threads],
                "mempages": [
                    {
                        "size_kb": pool.size_kib,
                        "total": pool.total,
                        "used": pages_used.get(pool.size_kib, 0),
                        "reserved": kept.get(pool.size_kib, 0),
                    }
                    for pool in cell.pages
                ],
                "pinned_cpus": list(held.pinned),
                "cpu_usage": held.floating_vcpus,
                "memory_usage": held.memory_kib // 1024,
                "socket": cell.cores[0].socket,
            }
        )
    flavor = request.flavor
    asked: dict[str, Any] = {
        "host": {"cells": cells},
        "flavor": {"vcpus": flavor.vcpus, "memory_mb": flavor.ram_mb, "extra_specs": dict(flavor.extra_specs)},
        "image": {"properties": dict(request.image.properties)},
        "limits": limits
        and {
            "cpu_allocation_ratio": limits.cpu_allocation_ratio,
            "ram_allocation_ratio": limits.ram_allocation_ratio,
        },
    }
    if "pci_passthrough:alias" in flavor.extra_specs:
        policy = flavor.extra_specs.get("hw:pci_numa_affinity_policy") or request.image.properties.get(
            "hw_pci_numa_affinity_policy", "legacy"
        )
        alias, count = str(flavor.extra_specs["pci_passthrough:alias"]).split(":")
        vendor, product = alias.split(".")
        where = [(cell.id, len(cell.devices)) for cell in host.cells] + [(None, len(host.unplaced_devices))]
        asked["pci"] = {
            "pools": [
                {"vendor_id": vendor, "product_id": product, "numa_node": cell, "count": there}
                for cell, there in where
                if there
            ],
            "requests": [
                {"count": int(count), "vendor_id": vendor, "product_id": product, "numa_policy": policy},
            ],
        }
    return asked


def without_devices(request: Request) -> Request:
    """The request without its wish for devices."""
    specs = {key: value for key, value in request.flavor.extra_specs.items() if key != "pci_passthrough:alias"}
    return msgspec.structs.replace(request, flavor=msgspec.structs.replace(request.flavor, extra_specs=specs))
