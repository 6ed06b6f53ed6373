"""Nova's own filters and weighers, timed: run by schedule.py with an interpreter that has Nova.

Hosts and the request come on stdin; a decision is HostManager's get_filtered_hosts and get_weighed_hosts, on host
states that are built already.  The answer: seconds of CPU a decision, how many hosts passed, the best.
"""

import datetime
import json
import logging
import os
import sys
import uuid
from statistics import median
from time import thread_time

os.environ.setdefault("OS_NOVA_DISABLE_EVENTLET_PATCHING", "true")

import nova.conf
from nova import objects
from nova.scheduler import filters, host_manager, weights
from nova.virt import hardware

logging.disable(logging.CRITICAL)
objects.register_all()
nova.conf.CONF([], project="nova", default_config_files=[])
SPACE = uuid.UUID(int=34)
NOW = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def state_of(host, siblings):
    """A host as the scheduler has it after reading the compute node."""
    topology = objects.NUMATopology(
        cells=[
            objects.NUMACell(
                id=cell["id"],
                cpuset=set(cell["cpus"]),
                pcpuset=set(cell["cpus"]),
                memory=cell["memory_mb"],
                cpu_usage=len(cell["pinned"]),
                memory_usage=0,
                pinned_cpus=set(cell["pinned"]),
                siblings=[set(pair) for pair in siblings[str(cell["id"])]],
                mempages=[objects.NUMAPagesTopology(size_kb=4, total=cell["memory_mb"] * 256, used=0)],
                socket=cell["id"],
            )
            for cell in host["cells"]
        ]
    )
    compute = objects.ComputeNode(
        id=1,
        uuid=str(uuid.uuid5(SPACE, host["name"])),
        host=host["name"],
        hypervisor_hostname=host["name"],
        vcpus=72,
        vcpus_used=sum(len(cell["pinned"]) for cell in host["cells"]),
        memory_mb=host["memory_mb"],
        memory_mb_used=host["memory_mb_used"],
        free_ram_mb=host["memory_mb"] - host["memory_mb_used"],
        local_gb=1000,
        local_gb_used=0,
        free_disk_gb=1000,
        disk_available_least=None,
        cpu_allocation_ratio=4.0,
        ram_allocation_ratio=1.0,
        disk_allocation_ratio=1.0,
        hypervisor_type="QEMU",
        hypervisor_version=8000000,
        cpu_info=json.dumps({"vendor": "Intel"}),
        supported_hv_specs=[objects.HVSpec.from_list(["x86_64", "kvm", "hvm"])],
        stats={},
        metrics="[]",
        numa_topology=topology._to_json(),
        host_ip="192.0.2.1",
        pci_device_pools=objects.PciDevicePoolList(objects=[]),
        updated_at=NOW.replace(tzinfo=datetime.UTC),
        created_at=NOW.replace(tzinfo=datetime.UTC),
    )
    service = {"host": host["name"], "binary": "nova-compute", "disabled": False, "disabled_reason": None}
    service |= {"last_seen_up": NOW, "created_at": NOW, "updated_at": NOW, "topic": "compute", "forced_down": False}
    state = host_manager.HostState(host["name"], host["name"], str(SPACE))
    state.update(compute, service, [], {})
    state.allocation_candidates = [{"mappings": {}, "allocations": {state.uuid: {}}}]
    return state


def spec_of(asked):
    flavor = objects.Flavor(
        id=1,
        flavorid="1",
        name="f",
        vcpus=asked["vcpus"],
        memory_mb=asked["memory_mb"],
        root_gb=asked["disk_gb"],
        ephemeral_gb=0,
        swap=0,
        rxtx_factor=1.0,
        is_public=True,
        disabled=False,
        extra_specs=asked["extra_specs"],
        projects=[],
    )
    image = objects.ImageMeta.from_dict({"name": "i", "properties": {}})
    instance = str(uuid.uuid5(SPACE, "instance"))
    return objects.RequestSpec(
        flavor=flavor,
        image=image,
        numa_topology=hardware.numa_get_constraints(flavor, image),
        pci_requests=objects.InstancePCIRequests(instance_uuid=instance, requests=[]),
        project_id="p",
        user_id="u",
        availability_zone=None,
        num_instances=1,
        ignore_hosts=None,
        force_hosts=None,
        force_nodes=None,
        requested_destination=None,
        retry=None,
        limits=objects.SchedulerLimits(),
        instance_group=None,
        scheduler_hints={},
        instance_uuid=instance,
        requested_resources=[],
        is_bfv=False,
    )


class Manager(host_manager.HostManager):
    """HostManager's filtering and weighing, without its database."""

    def __init__(self, names):
        known = filters.HostFilterHandler().get_matching_classes(nova.conf.CONF.filter_scheduler.available_filters)
        self.filter_handler = filters.HostFilterHandler()
        self.filter_cls_map = {cls.__name__: cls for cls in known}
        self.filter_obj_map = {}
        self.enabled_filters = self._choose_host_filters(names)
        self.weight_handler = weights.HostWeightHandler()
        chosen = self.weight_handler.get_matching_classes(nova.conf.CONF.filter_scheduler.weight_classes)
        self.weighers = [cls() for cls in chosen]


question = json.load(sys.stdin)
nova.conf.CONF.set_override("service_down_time", 86400)
manager = Manager([name + "Filter" for name in question["filters"]])
states = [state_of(host, question["siblings"]) for host in question["hosts"]]
rounds = []
best = passed = None
while len(rounds) < 5 and sum(rounds) < 2:
    spec = spec_of(question["request"])
    started = thread_time()
    left = list(manager.get_filtered_hosts(states, spec, 0) or [])
    ranked = manager.get_weighed_hosts(left, spec)
    rounds.append(thread_time() - started)
    passed, best = len(left), ranked[0].obj.host if ranked else None
print(json.dumps({"seconds": median(rounds), "passed": passed, "best": best}))
