"""/proc/cpuinfo: who made the CPUs; and, where sysfs tells nothing, which CPUs run and how they share cores.

Every architecture writes it differently (kernel: arch/*/kernel/…, ``show_cpuinfo``); keys are read with all their
spellings.  No file is more costly for the kernel to make, so where sysfs has the CPUs only its beginning is read.
"""

from __future__ import annotations

from agent.core.cpulist import HEXADECIMAL, HIGHEST_CPU
from agent.core.errors import BadInput
from agent.inspection.cpus import bits
from agent.inspection.files import LONGEST, Root

FILE = "proc/cpuinfo"
BEGINNING = 8192
"""Bytes that hold the first processor's whole paragraph on every architecture (the longest, x86, has 2,500)."""

VENDOR = ("vendor_id", "vendor", "cpu implementer", "mvendorid")
MODEL = ("model name", "cpu model", "cpu", "uarch", "family", "processor")
FLAGS = ("flags", "features", "isa", "cpucaps")
ARM_MAKERS = {"0x41": "ARM", "0x42": "Broadcom", "0x43": "Cavium", "0x46": "Fujitsu", "0x48": "HiSilicon"}
ARM_MAKERS |= {"0x4e": "NVIDIA", "0x50": "APM", "0x51": "Qualcomm", "0x61": "Apple", "0x6d": "Microsoft"}
ARM_MAKERS |= {"0x70": "Phytium", "0xc0": "Ampere"}


class CpuInfo:
    """Identity, threads in a core, and the pCPUs named: by number, their socket and core id where the file has them."""

    __slots__ = ("arch", "cpus", "flags", "model", "threads", "vendor")

    def __init__(self) -> None:
        self.vendor: str | None = None
        self.model: str | None = None
        self.flags: list[str] = []
        self.arch: str | None = None
        self.cpus: dict[int, tuple[int | None, int | None]] = {}
        self.threads = 1


def read_cpuinfo(root: Root, *, whole: bool) -> CpuInfo | None:
    """What the file says of the first CPU, or with ``whole`` of all of them; None when it is absent or empty."""
    text = root.text(FILE, LONGEST if whole else BEGINNING)
    if not text:
        return None
    end = text.find("\n\n")
    if not whole and end > 0 and ("\nflags" in text[:end] or "\nfeatures" in text[:end]):
        text = text[:end]  # x86, ia64: the first paragraph says everything; elsewhere it may stand at the end
    try:
        return parse_cpuinfo(text)
    except BadInput as why:
        raise BadInput(f"{root.prefix}{FILE}: {why}") from why


def parse_cpuinfo(text: str) -> CpuInfo:
    """Read paragraphs of ``key : value``; what is cut off at the end is left out."""
    info = CpuInfo()
    first: dict[str, str] = {}
    cpu: int | None = None
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        first.setdefault(key, value)
        if key == "processor" and _is_number(value):
            cpu = int(value)
            info.cpus[cpu] = (None, None)
        elif key.startswith("processor ") and _is_number(key[10:]):  # s390: "processor 0: version = FF, …"
            info.cpus[int(key[10:])] = (None, None)
        elif key.startswith("cpu") and _is_number(key[3:]) and value == "online":  # sparc: "CPU6: online"
            info.cpus[int(key[3:])] = (None, None)
        elif cpu is not None and key in ("physical id", "package") and _is_number(value):
            info.cpus[cpu] = (int(value), info.cpus[cpu][1])
        elif cpu is not None and key in ("core id", "core") and _is_number(value):
            info.cpus[cpu] = (info.cpus[cpu][0], int(value))
    if not first:
        raise BadInput(f"not a cpuinfo: no line 'key : value' in {len(text)} characters")
    active = first.get("cpu active mask", "")  # alpha with SMP; what it calls detected may not run
    if not info.cpus and 0 < len(active) <= 16 and not active.strip(HEXADECIMAL):
        info.cpus = dict.fromkeys(bits(int(active, 16)), (None, None))
    elif not info.cpus and ("processor" in first or "cpu" in first):
        # without SMP there is one, which ARM calls "Processor : ARMv6…", alpha, sparc and m68k "cpu : …" alone
        info.cpus = {0: (None, None)}
    info.vendor = _first_of(first, VENDOR)
    info.vendor = ARM_MAKERS.get((info.vendor or "").lower(), info.vendor)
    info.model = _first_of(first, tuple(key for key in MODEL if not _is_number(first.get(key, "0"))))
    info.flags = (_first_of(first, FLAGS) or "").replace(",", " ").split()
    info.arch = _arch(first, info)
    siblings, cores = first.get("siblings", ""), first.get("cpu cores", "")
    if _is_number(siblings) and _is_number(cores):
        info.threads = max(1, -(-int(siblings) // max(1, int(cores))))  # of a hybrid part's cores, some have one
    return info


def _first_of(found: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((found[key] for key in keys if found.get(key)), None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7 and int(text) < HIGHEST_CPU


def _arch(first: dict[str, str], info: CpuInfo) -> str | None:
    """The architecture that writes such a file, for trees saved without the kernel's own word; None when in doubt."""
    if first.get("arch") == "IA-64":
        return "ia64"
    if "cpuid level" in first:
        return "x86_64" if "lm" in info.flags else "i686"
    if "cpu implementer" in first:
        model = (info.model or "").lower()
        if "(v7" in model or "(v6" in model:
            return "armv7l" if "(v7" in model else "armv6l"
        return "aarch64" if first.get("cpu architecture", "") in ("8", "AArch64") else "arm"
    if info.vendor == "IBM/S390":
        return "s390x"
    if "altivec" in first.get("cpu", "") or "POWER" in first.get("cpu", ""):
        return "ppc64"
    if first.get("isa", "").startswith("rv"):
        return "riscv64" if first["isa"].startswith("rv64") else "riscv32"
    if "loongarch64" in first.get("isa", ""):
        return "loongarch64"
    if first.get("type", "").startswith("sun4"):
        return "sparc64"
    return "alpha" if first.get("cpu") == "Alpha" else None
