"""CPU vendor, model and flags through py-cpuinfo, for kernels whose text does not say; kept until the next boot.

py-cpuinfo asks dmidecode, lscpu and CPUID itself and takes seconds: nothing calls this unless a user wants it and the
kernel left a gap.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from agent.core.codec import decode, encode
from agent.core.errors import BadInput
from agent.core.topology import CpuIdentity, HostTopology
from agent.inspection.boot import read_boot_id
from agent.inspection.files import Root


def fill_identity(host: HostTopology, root: Root, cache: Path) -> HostTopology:
    """The host with what the kernel did not say of its CPUs; unchanged where it said all, or for a saved host.

    ``cache`` is a folder; a cache that cannot be read or written costs time and nothing else.
    """
    said = host.cpu
    if not root.live or (said.vendor and said.model):
        return host
    file = cache / f"cpu-{read_boot_id(root)}.json"
    found = _cached(file)
    if found is None:
        found = _asked()
        _keep(file, found)
    filled = CpuIdentity(said.vendor or found.vendor, said.model or found.model, said.flags or found.flags)
    return replace(host, cpu=filled)


def _asked() -> CpuIdentity:
    import cpuinfo

    facts = cpuinfo.get_cpu_info()
    return CpuIdentity(facts.get("vendor_id_raw"), facts.get("brand_raw"), tuple(facts.get("flags", ())))


def _cached(file: Path) -> CpuIdentity | None:
    try:
        return decode(file.read_bytes(), CpuIdentity)
    except (OSError, BadInput):
        return None


def _keep(file: Path, found: CpuIdentity) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for older in sorted(file.parent.glob("cpu-*.json")):
            older.unlink()
        file.write_bytes(encode(found))
    except OSError:
        return
