"""Golden cases made by the placement engine itself: a request on a named host, one a row, with what it shows."""

import msgspec

from agent.core.placement import Placement
from agent.core.request import Flavor, Request
from agent.core.topology import Device, HostTopology
from agent.core.usage import Usage
from agent.placement import place
from tests.domain.cases import Case
from tests.hosts import host

OSDEV, SPLIT, HUGE, CCX = "osdev-01", "osdev-split", "huge-pages", "ccx"
NICS = tuple(Device("net", f"eno{number}", f"0000:3b:00.{number}") for number in range(2))
GPU = Device("gpu", "card0", "0000:af:00.0")


def named(name: str) -> HostTopology:
    """The named host, with two network devices on cell 0 and a GPU on cell 1 where it has two cells."""
    found = host(name)
    if len(found.cells) < 2:
        return found
    first, second, *others = found.cells
    with_devices = (
        msgspec.structs.replace(first, devices=NICS),
        msgspec.structs.replace(second, devices=(GPU,)),
        *others,
    )
    return msgspec.structs.replace(found, cells=with_devices)


def placed(
    shows: str,
    on: str,
    vcpus: int,
    ram_mb: int,
    specs: dict[str, str],
    *,
    template: str = "plain",
    disk: str = "",
    virt_type: str = "qemu",
) -> Case:
    """The case of what the engine answers; it must fit."""
    flavor = Flavor(vcpus=vcpus, ram_mb=ram_mb, name="golden", extra_specs={**specs})
    answer = place(named(on), Usage(), Request(flavor=flavor, name="cw-golden"))
    assert isinstance(answer, Placement), f"{shows}: {answer}"
    return Case(shows, answer, template=template, virt_type=virt_type, disk=disk or None)


DEDICATED = {"hw:cpu_policy": "dedicated"}
TWO = {"hw:numa_nodes": "2"}

PLACED = {
    "placed-float": placed("no wishes, over the shared set", SPLIT, 2, 1024, {}, template="tiny"),
    "placed-shared-cell": placed("one cell, its shared pCPUs", SPLIT, 2, 1024, {"hw:numa_nodes": "1"}),
    "placed-prefer": placed(
        "dedicated, siblings filled", OSDEV, 4, 2048, {**DEDICATED, "hw:cpu_thread_policy": "prefer"}
    ),
    "placed-require": placed(
        "siblings insisted on, two cells", OSDEV, 8, 4096, {**DEDICATED, **TWO, "hw:cpu_thread_policy": "require"}
    ),
    "placed-isolate": placed(
        "a core a vCPU, siblings kept idle", OSDEV, 2, 1024, {**DEDICATED, "hw:cpu_thread_policy": "isolate"}
    ),
    "placed-mixed": placed(
        "dedicated and floating vCPUs in one guest",
        SPLIT,
        4,
        2048,
        {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "1-2"},
    ),
    "placed-realtime": placed(
        "real-time vCPUs, the emulator on the pCPU of the one that is not",
        SPLIT,
        4,
        2048,
        {**DEDICATED, "hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"},
        template="realtime",
    ),
    "placed-schedules": placed(
        "real-time vCPUs under rr, I/O threads and emulator with classes of their own",
        SPLIT,
        4,
        2048,
        {
            **DEDICATED,
            "hw:cpu_realtime": "yes",
            "hw:cpu_realtime_mask": "2-3",
            "cw:vcpu_sched": "rr:5",
            "cw:iothreads": "2",
            "cw:iothread_sched": "batch",
            "cw:emulator_sched": "fifo:2",
        },
        template="realtime",
    ),
    "placed-cache": placed(
        "a part of both L3 caches of a guest of two cells, and half of the bandwidth behind one",
        CCX,
        4,
        2048,
        {**DEDICATED, **TWO, "cw:cachetune": "4M", "cw:memorytune": "50%"},
        virt_type="kvm",
    ),
    "placed-huge-pages": placed(
        "1 GiB pages on two cells",
        HUGE,
        4,
        4096,
        {**DEDICATED, **TWO, "hw:mem_page_size": "1GB"},
        template="dpdk",
    ),
    "placed-locked": placed(
        "2 MiB pages, locked, bound restrictively",
        HUGE,
        2,
        512,
        {"hw:mem_page_size": "2048", "hw:locked_memory": "yes", "hw:numa_mempolicy": "restrictive"},
    ),
    "placed-small-pages": placed("small pages by name", HUGE, 2, 512, {**DEDICATED, "hw:mem_page_size": "small"}),
    "placed-emulator-isolate": placed(
        "the emulator on a pCPU of its own", SPLIT, 2, 1024, {**DEDICATED, "hw:emulator_threads_policy": "isolate"}
    ),
    "placed-emulator-share": placed(
        "the emulator on the shared set", SPLIT, 2, 1024, {**DEDICATED, "hw:emulator_threads_policy": "share"}
    ),
    "placed-iothreads": placed(
        "two I/O threads on pCPUs of their own, a disk on the first",
        SPLIT,
        2,
        1024,
        {**DEDICATED, "cw:iothreads": "2", "cw:iothread_cpus": "dedicated"},
        disk="/var/lib/libvirt/images/cw-golden.raw",
    ),
    "placed-devices": placed(
        "a guest of two cells with a device on each",
        OSDEV,
        4,
        2048,
        {**DEDICATED, **TWO, "pci_passthrough:alias": "net:2,gpu:1"},
    ),
    "placed-uneven": placed(
        "uneven guest cells, given vCPU by vCPU, told apart in the guest by distance",
        CCX,
        6,
        3072,
        {
            **DEDICATED,
            **TWO,
            **{"hw:numa_cpus.0": "0-1", "hw:numa_mem.0": "1024", "hw:numa_cpus.1": "2-5", "hw:numa_mem.1": "2048"},
        },
    ),
}
