"""Which ``hw:`` and ``cw:`` keys exist.  Every other key of these two namespaces is refused by name."""

from __future__ import annotations

from agent.core.errors import BadRequest

PLACING = (
    "cpu_policy",
    "cpu_thread_policy",
    "cpu_dedicated_mask",
    "cpu_realtime",
    "cpu_realtime_mask",
    "cpu_sockets",
    "cpu_cores",
    "cpu_threads",
    "cpu_max_sockets",
    "cpu_max_cores",
    "cpu_max_threads",
    "emulator_threads_policy",
    "locked_memory",
    "mem_encryption",
    "mem_page_size",
    "numa_mempolicy",
    "numa_nodes",
    "pci_numa_affinity_policy",
    "pmem",
)
"""``hw:`` keys that this package reads."""

PASSING = (
    "boot_menu",
    "cdrom_bus",
    "disk_bus",
    "ephemeral_encryption",
    "ephemeral_encryption_format",
    "firmware_type",
    "hide_hypervisor_id",
    "input_bus",
    "machine_type",
    "maxphysaddr_bits",
    "maxphysaddr_mode",
    "mem_encryption_model",
    "pmu",
    "pointer_model",
    "redirected_usb_ports",
    "rescue_bus",
    "rescue_device",
    "rng_model",
    "scsi_model",
    "serial_port_count",
    "sound_model",
    "time_hpet",
    "tpm_model",
    "tpm_secret_security",
    "tpm_version",
    "usb_model",
    "vif_model",
    "vif_multiqueue_enabled",
    "video_model",
    "video_ram",
    "viommu_model",
    "virtio_packed_ring",
    "vm_mode",
    "watchdog_action",
)
"""``hw:`` keys of Nova that say nothing about placement."""

OURS = (
    "cachetune",
    "emulator_sched",
    "guest_topology",
    "host_cells",
    "iothread_cpus",
    "iothread_sched",
    "iothreads",
    "l3",
    "memorytune",
    "numa_nodes",
    "prefer_cores",
    "vcpu_sched",
)
"""``cw:`` keys: what Nova cannot be asked for."""

NUMBERED = ("numa_cpus", "numa_mem")
"""``hw:`` keys with the number of a guest cell behind a dot."""

HIGHEST_GUEST_CELL = 127


def check_keys(extra_specs: dict[str, str], properties: dict[str, str]) -> None:
    """Refuse unknown keys of the ``hw:`` and ``cw:`` namespaces, and numbered keys with gaps, also of an image."""
    for key in sorted(extra_specs):
        namespace, colon, name = key.partition(":")
        if not colon or namespace not in ("hw", "cw"):
            continue
        if namespace == "cw":
            if name not in OURS:
                raise BadRequest(key, extra_specs[key], "is no such extra spec", allowed=_listed("cw", OURS))
        elif name not in PLACING and name not in PASSING:
            stem, _, number = name.partition(".")
            if stem not in NUMBERED:
                near = [known for known in PLACING + NUMBERED if known.split("_")[0] == stem.split("_")[0]]
                raise BadRequest(key, extra_specs[key], "is no such extra spec", allowed=_listed("hw", near or PLACING))
            _check_numbered(key, number, extra_specs)
    for key in sorted(properties):
        stem, _, number = key.removeprefix("hw_").partition(".")
        if key.startswith("hw_") and stem in NUMBERED:
            _check_numbered(key, number, properties)


def _check_numbered(key: str, number: str, values: dict[str, str]) -> None:
    stem = key.removesuffix("." + number)
    if number not in map(str, range(HIGHEST_GUEST_CELL + 1)):
        raise BadRequest(key, values[key], "names no guest cell", allowed=f"{stem}.0 to .{HIGHEST_GUEST_CELL}")
    missing = [n for n in range(int(number)) if f"{stem}.{n}" not in values]
    if missing:
        raise BadRequest(key, values[key], f"{stem}.{missing[0]} is missing: guest cells count from 0")


def _listed(namespace: str, names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"{namespace}:{name}" for name in names)
