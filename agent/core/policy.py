"""The policies a guest may ask for, spelled as in OpenStack, and the operator's packing policy."""

from enum import StrEnum


class CpuPolicy(StrEnum):
    """``hw:cpu_policy``: float over the shared set, own pCPUs, or some vCPUs of each kind."""

    SHARED = "shared"
    DEDICATED = "dedicated"
    MIXED = "mixed"


class ThreadPolicy(StrEnum):
    """``hw:cpu_thread_policy``: fill sibling sets when possible, leave siblings idle, or insist on siblings."""

    PREFER = "prefer"
    ISOLATE = "isolate"
    REQUIRE = "require"


class EmulatorPolicy(StrEnum):
    """``hw:emulator_threads_policy``: QEMU's own threads on the shared set, or on a pCPU kept for them."""

    SHARE = "share"
    ISOLATE = "isolate"


class MemPolicy(StrEnum):
    """``hw:numa_mempolicy``, as libvirt's ``<numatune>`` modes."""

    STRICT = "strict"
    PREFERRED = "preferred"
    RESTRICTIVE = "restrictive"
    INTERLEAVE = "interleave"


class PciAffinity(StrEnum):
    """``hw:pci_numa_affinity_policy``: how near its cells a guest's devices must be."""

    REQUIRED = "required"
    PREFERRED = "preferred"
    LEGACY = "legacy"
    SOCKET = "socket"


class PackingPolicy(StrEnum):
    """The operator's choice among feasible cells: the emptiest, the fullest, or the one that breaks least."""

    SPREAD = "spread"
    PACK = "pack"
    BALANCED = "balanced"
