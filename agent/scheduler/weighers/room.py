"""RAM, Disk, CPU, IoOps and NumInstances: emptier hosts score higher (operations and instances count against them)."""

from __future__ import annotations

from agent.scheduler.weighers import Weigher

WEIGHERS = (
    Weigher("RAM", "ram_weight_multiplier", lambda t, w, s: t.free_ram_mb, least=0.0),
    Weigher("Disk", "disk_weight_multiplier", lambda t, w, s: t.free_disk_mb, least=0.0),
    Weigher("CPU", "cpu_weight_multiplier", lambda t, w, s: t.vcpus * t.cpu_ratio - t.vcpus_used, least=0.0),
    Weigher("IoOps", "io_ops_weight_multiplier", lambda t, w, s: t.io_ops, least=0.0),
    Weigher("NumInstances", "num_instances_weight_multiplier", lambda t, w, s: t.instances_count),
)
