"""The request language: what each wish means, whose word counts, and what is refused by name."""

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadRequest
from agent.core.guest import BandwidthWish, CacheWish, GuestTopology, PageWish
from agent.core.placement import Schedule, Schedules
from agent.core.policy import CpuPolicy, EmulatorPolicy, MemPolicy, ThreadPolicy
from agent.core.request import Flavor, Image, Request
from agent.placement.language import check_request, parse_guest

DEDICATED = {"hw:cpu_policy": "dedicated"}
REALTIME = DEDICATED | {"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "2-3"}


def parse(
    specs: dict | None = None, properties: dict | None = None, *, vcpus: int = 4, ram_mb: int = 1024
) -> GuestTopology:
    return parse_guest(
        Request(Flavor(vcpus, ram_mb, extra_specs=specs or {}), image=Image(properties=properties or {}))
    )


def test_a_bare_request_has_no_cells() -> None:
    guest = parse()
    assert (guest.cells, guest.cpu_policy, guest.memory_kib) == ((), CpuPolicy.SHARED, 1 << 20)


@pytest.mark.parametrize(
    "specs", [DEDICATED, {"hw:numa_nodes": 1}, {"hw:mem_page_size": "small"}, {"hw:pmem": "4GB"}, {"resources:PCPU": 4}]
)
def test_pinning_numa_pages_and_pmem_each_make_a_guest_cell(specs: dict) -> None:
    assert [str(cell.vcpus) for cell in parse(specs).cells] == ["0-3"]


def test_cells_are_even_parts_or_spelled_out() -> None:
    assert [str(cell.vcpus) for cell in parse({"hw:numa_nodes": "2"}).cells] == ["0-1", "2-3"]
    spelled = parse(
        {
            "hw:numa_nodes": "2",
            "hw:numa_cpus.0": "0,2-3",
            "hw:numa_mem.0": "1000",
            "hw:numa_cpus.1": "1",
            "hw:numa_mem.1": "24",
        }
    )
    assert [(str(cell.vcpus), cell.memory_kib) for cell in spelled.cells] == [("0,2-3", 1024000), ("1", 24576)]


@pytest.mark.parametrize(
    ("flavor", "image", "policy"),
    [
        ("dedicated", "shared", "dedicated"),
        ("dedicated", "dedicated", "dedicated"),
        (None, "dedicated", "dedicated"),
        ("shared", "shared", "shared"),
        ("shared", None, "shared"),
    ],
)
def test_the_flavor_beats_the_image_where_nova_lets_it(flavor: str | None, image: str | None, policy: str) -> None:
    specs = {"hw:cpu_policy": flavor} if flavor else {}
    properties = {"hw_cpu_policy": image} if image else {}
    assert parse(specs, properties).cpu_policy == policy


def test_thread_policies_and_who_may_leave_siblings_idle() -> None:
    ours = parse(DEDICATED | {"hw:cpu_thread_policy": "isolate"})
    theirs = parse(DEDICATED, {"hw_cpu_thread_policy": "isolate"})
    assert (ours.thread_policy, ours.idle_siblings) == (ThreadPolicy.ISOLATE, True)
    assert (theirs.thread_policy, theirs.idle_siblings) == (ThreadPolicy.ISOLATE, False)
    prefers = parse(DEDICATED | {"hw:cpu_thread_policy": "prefer"}, {"hw_cpu_thread_policy": "require"})
    assert prefers.thread_policy is ThreadPolicy.PREFER
    assert parse(DEDICATED | {"trait:HW_CPU_HYPERTHREADING": "required"}).thread_policy is ThreadPolicy.REQUIRE
    assert parse(DEDICATED | {"trait:HW_CPU_HYPERTHREADING": "forbidden"}).thread_policy is ThreadPolicy.ISOLATE


def test_mixed_guests_name_their_dedicated_vcpus() -> None:
    mixed = {"hw:cpu_policy": "mixed"}
    assert parse(mixed | {"hw:cpu_dedicated_mask": "^0-1"}).cells[0].dedicated == CpuSet([2, 3])
    realtime = parse(mixed | {"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "2-3"})
    assert realtime.cells[0].dedicated == realtime.realtime == CpuSet([2, 3])
    assert realtime.locked


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("small", PageWish.SMALL),
        ("large", PageWish.LARGE),
        ("any", PageWish.ANY),
        ("2048", 2048),
        ("2MB", 2048),
        ("2MiB", 2048),
        ("2048KB", 2048),
        ("1GB", 1 << 20),
        ("1.5MB", 1536),
    ],
)
def test_page_sizes(text: str, page: int | PageWish) -> None:
    assert parse({"hw:mem_page_size": text}).page == page


def test_encrypted_memory_is_locked() -> None:
    assert parse({"hw:mem_encryption": "true"}, {"hw_firmware_type": "uefi", "hw_machine_type": "pc-q35-8.0"}).locked


def test_an_image_may_narrow_large_and_any() -> None:
    assert parse({"hw:mem_page_size": "large"}, {"hw_mem_page_size": "2MB"}).page == 2048


def test_the_rest_of_the_language() -> None:
    guest = parse(
        DEDICATED
        | {
            "hw:emulator_threads_policy": "isolate",
            "hw:numa_mempolicy": "interleave",
            "hw:mem_page_size": "2MB",
            "hw:locked_memory": "true",
            "quota:cpu_shares": "2048",
            "quota:cpu_quota": "-1",
            "pci_passthrough:alias": "gpu:1, nic:2",
            "hw:pci_numa_affinity_policy": "required",
            "cw:l3": "other:db-1",
            "cw:host_cells": "1",
            "cw:iothreads": "2",
            "cw:iothread_cpus": "dedicated",
            "cw:prefer_cores": "fast",
            "hw:watchdog_action": "reset",
            "aggregate_instance_extra_specs:ssd": "true",
        }
    )
    assert guest.emulator_policy is EmulatorPolicy.ISOLATE
    assert guest.mempolicy is MemPolicy.INTERLEAVE
    assert guest.cell_shapes[0].extra == 3
    assert [(wish.alias, wish.count) for wish in guest.devices] == [("gpu", 1), ("nic", 2)]
    assert guest.tune.shares == 2048
    assert guest.tune.quota_us == -1
    assert guest.locked
    assert guest.prefer_fast


def test_schedules_in_libvirt_s_words() -> None:
    asked = {"cw:vcpu_sched": "rr:5", "cw:iothreads": "2", "cw:iothread_sched": "idle", "cw:emulator_sched": "fifo:99"}
    assert parse(REALTIME | asked).schedules == Schedules(
        vcpus=dict.fromkeys((2, 3), Schedule("rr", 5)),
        iothreads=dict.fromkeys((1, 2), Schedule("idle")),
        emulator=Schedule("fifo", 99),
    )
    assert parse(REALTIME | {"cw:vcpu_sched": "fifo:1"}).schedules == Schedules(), "what they have without asking"


def test_shares_of_caches_and_bandwidth_for_all_vcpus_or_some() -> None:
    everyone = parse({"cw:cachetune": "4M", "cw:memorytune": "50%"})
    assert everyone.cache_wishes == (CacheWish(CpuSet(range(4)), 4096),)
    assert everyone.bandwidth_wishes == (BandwidthWish(CpuSet(range(4)), 50),)
    some = parse({"cw:cachetune": "0-1=4MiB; 2,3=2M code ;2-3=512 data", "cw:memorytune": "2-3=30"})
    assert [(str(wish.vcpus), wish.size_kib, wish.type) for wish in some.cache_wishes] == [
        ("0-1", 4096, "both"),
        ("2-3", 2048, "code"),
        ("2-3", 512, "data"),
    ]
    assert some.bandwidth_wishes == (BandwidthWish(CpuSet([2, 3]), 30),)


MIXED = {"hw:cpu_policy": "mixed"}
REFUSED = [
    # what stands in the flavor, what in the image, the key that is named
    ({"hw:cpu_polcy": "dedicated"}, {}, "hw:cpu_polcy"),
    ({"hw:numa_cpus.x": "0"}, {}, "hw:numa_cpus.x"),
    ({"hw:numa_cpus.00": "0-3"}, {}, "hw:numa_cpus.00"),
    ({"hw:numa_mem": "1024"}, {}, "hw:numa_mem"),
    ({}, {"hw_numa_nodes": "1", "hw_numa_cpus.1": "0"}, "hw_numa_cpus.1"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.1": "0"}, {}, "hw:numa_cpus.1"),
    ({"cw:l4": "1"}, {}, "cw:l4"),
    ({"hw:cpu_policy": "DEDICATED"}, {}, "hw:cpu_policy"),
    ({"hw:cpu_policy": "shared"}, {"hw_cpu_policy": "dedicated"}, "hw_cpu_policy"),
    (MIXED | {"hw:cpu_dedicated_mask": "0"}, {"hw_cpu_policy": "dedicated"}, "hw_cpu_policy"),
    (MIXED, {}, "hw:cpu_policy"),
    (MIXED | {"hw:cpu_dedicated_mask": "0-3"}, {}, "hw:cpu_dedicated_mask"),
    (MIXED | {"hw:cpu_dedicated_mask": "7"}, {}, "hw:cpu_dedicated_mask"),
    (MIXED | {"hw:cpu_dedicated_mask": "3-1"}, {}, "hw:cpu_dedicated_mask"),
    (DEDICATED | {"hw:cpu_dedicated_mask": "0"}, {}, "hw:cpu_dedicated_mask"),
    (DEDICATED | {"hw:cpu_thread_policy": "avoid"}, {}, "hw:cpu_thread_policy"),
    (DEDICATED | {"hw:cpu_thread_policy": "separate"}, {}, "hw:cpu_thread_policy"),
    (DEDICATED | {"hw:cpu_thread_policy": "isolate"}, {"hw_cpu_thread_policy": "require"}, "hw_cpu_thread_policy"),
    ({"hw:cpu_thread_policy": "isolate"}, {}, "hw:cpu_thread_policy"),
    ({}, {"hw_cpu_thread_policy": "isolate"}, "hw_cpu_thread_policy"),
    (DEDICATED | {"hw:emulator_threads_policy": "alone"}, {}, "hw:emulator_threads_policy"),
    ({"hw:emulator_threads_policy": "isolate"}, {}, "hw:emulator_threads_policy"),
    (DEDICATED | {"hw:cpu_realtime": "yes"}, {}, "hw:cpu_realtime"),
    (DEDICATED | {"hw:cpu_realtime": "maybe"}, {}, "hw:cpu_realtime"),
    (DEDICATED | {"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "0-9"}, {}, "hw:cpu_realtime_mask"),
    ({"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"}, {}, "hw:cpu_realtime"),
    (DEDICATED | {"resources:PCPU": "4"}, {}, "hw:cpu_policy"),
    ({"resources:PCPU": "3"}, {}, "resources:PCPU"),
    ({"resources:PCPU": "4", "resources:VCPU": "4"}, {}, "resources:PCPU"),
    (
        DEDICATED | {"trait:HW_CPU_HYPERTHREADING": "required", "hw:cpu_thread_policy": "require"},
        {},
        "trait:HW_CPU_HYPERTHREADING",
    ),
    (DEDICATED, {"trait:HW_CPU_HYPERTHREADING": "forbidden"}, "trait:HW_CPU_HYPERTHREADING"),
    *[({"hw:numa_nodes": text}, {}, "hw:numa_nodes") for text in ("0", "-1", "abc", "1.0", " 1 ", "3", "999999999999")],
    ({"hw:numa_nodes": "1"}, {"hw_numa_nodes": "1"}, "hw_numa_nodes"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3"}, {}, "hw:numa_mem"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "1023"}, {}, "hw:numa_mem.0"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "x"}, {}, "hw:numa_mem.0"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": "1024"}, {}, "hw:numa_cpus.0"),
    ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-9", "hw:numa_mem.0": "1024"}, {}, "hw:numa_cpus.0"),
    *[({"hw:mem_page_size": text}, {}, "hw:mem_page_size") for text in ("huge", "LARGE", "2M", "-1", "0", "\uff12MB")],
    ({}, {"hw_mem_page_size": "2MB"}, "hw_mem_page_size"),
    ({"hw:mem_page_size": "small"}, {"hw_mem_page_size": "2MB"}, "hw_mem_page_size"),
    ({"hw:locked_memory": "true"}, {}, "hw:locked_memory"),
    ({"hw:mem_encryption": "true"}, {}, "hw_firmware_type"),
    ({"hw:mem_encryption": "true"}, {"hw_mem_encryption": "no"}, "hw_mem_encryption"),
    ({"hw:mem_encryption": "true"}, {"hw_firmware_type": "uefi", "hw_machine_type": "pc"}, "hw_machine_type"),
    ({"hw:numa_mempolicy": "bind"}, {}, "hw:numa_mempolicy"),
    ({"hw:cpu_sockets": "0"}, {}, "hw:cpu_sockets"),
    ({"hw:cpu_max_sockets": "2"}, {"hw_cpu_max_sockets": "3"}, "hw_cpu_max_sockets"),
    ({"hw:cpu_max_sockets": "2"}, {"hw_cpu_sockets": "4"}, "hw_cpu_sockets"),
    ({"hw:cpu_max_sockets": "1", "hw:cpu_max_cores": "1", "hw:cpu_max_threads": "1"}, {}, "hw:cpu_max_sockets"),
    ({"pci_passthrough:alias": "gpu:0"}, {}, "pci_passthrough:alias"),
    ({"hw:pci_numa_affinity_policy": "near"}, {}, "hw:pci_numa_affinity_policy"),
    ({"hw:pci_numa_affinity_policy": "legacy"}, {"hw_pci_numa_affinity_policy": "near"}, "hw_pci_numa_affinity_policy"),
    (DEDICATED | {"cw:host_cells": "0,1"}, {}, "cw:host_cells"),
    ({"hw:numa_nodes": "2", "cw:host_cells": "1,1"}, {}, "cw:host_cells"),
    (DEDICATED | {"cw:l3": "near:db-1"}, {}, "cw:l3"),
    ({"cw:numa_nodes": "auto", "hw:numa_nodes": "2"}, {}, "cw:numa_nodes"),
    ({"cw:numa_nodes": "auto"}, {"hw_numa_nodes": "2"}, "cw:numa_nodes"),
    ({"cw:numa_nodes": "auto"}, {"hw_numa_cpus.0": "0-3", "hw_numa_mem.0": "1024"}, "cw:numa_nodes"),
    ({"cw:iothreads": "x"}, {}, "cw:iothreads"),
    ({"cw:iothreads": "1", "cw:iothread_cpus": "dedicated"}, {}, "cw:iothread_cpus"),
    ({"cw:guest_topology": "tall"}, {}, "cw:guest_topology"),
    ({"cw:prefer_cores": "slow"}, {}, "cw:prefer_cores"),
    ({"quota:cpu_shares": "many"}, {}, "quota:cpu_shares"),
    *[({"cw:emulator_sched": text}, {}, "cw:emulator_sched") for text in ("fifo", "rr:0", "fifo:100", "batch:1")],
    (REALTIME | {"cw:vcpu_sched": "batch"}, {}, "cw:vcpu_sched"),
    (DEDICATED | {"cw:vcpu_sched": "fifo:1"}, {}, "cw:vcpu_sched"),
    ({"cw:iothread_sched": "fifo:1"}, {}, "cw:iothread_sched"),
    *[({"cw:cachetune": text}, {}, "cw:cachetune") for text in ("big", "0", "4M instruction", "0-7=4M", "=4M", "0-1=")],
    *[({"cw:cachetune": text}, {}, "cw:cachetune") for text in ("0-1=4M;1-2=4M", "4M;4M", "4M;4M code", "x=4M")],
    *[({"cw:memorytune": text}, {}, "cw:memorytune") for text in ("0", "101", "half", "0-7=5", "0=10;0=20")],
    ({"cw:memorytune": "0-1=10;1=2"}, {}, "cw:memorytune"),
    ({"cw:cachetune": "0-1=4M", "cw:memorytune": "0-2=50"}, {}, "cw:memorytune"),
]  # fmt: skip


@pytest.mark.parametrize(("specs", "properties", "key"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_no_host_could_serve_is_refused_by_key(specs: dict, properties: dict, key: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_request(Request(Flavor(4, 1024, extra_specs=specs), image=Image(properties=properties)))
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}=")


@pytest.mark.parametrize(
    "flavor",
    [Flavor(0, 1), Flavor(-1, 1), Flavor(10**9, 1), Flavor(1, 0), Flavor(1, 1 << 40), Flavor(1, 1, disk_gb=-1)],
)
def test_absurd_sizes_are_refused(flavor: Flavor) -> None:
    with pytest.raises(BadRequest, match="flavor"):
        parse_guest(Request(flavor))


@pytest.mark.parametrize("name", ["a/b", "a'b", 'a"b', "<a>", "a\nb", "x" * 300])
def test_names_that_would_hurt_later_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="name"):
        parse_guest(Request(Flavor(1, 1), name=name))
