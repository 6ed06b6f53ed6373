"""How many cells the guest has, and which vCPUs and how much memory belong to each.

``hw:numa_nodes`` alone splits evenly; with ``hw:numa_cpus.N`` and ``hw:numa_mem.N`` each cell is spelled out, all or
none of them.  Flavor and image may not both speak.
"""

from __future__ import annotations

from agent.core.cpuset import EMPTY, CpuSet
from agent.core.errors import BadRequest
from agent.core.guest import GuestCell
from agent.placement.language.specs import Specs, cpu_list, number_of, whole_number, words

KIB_PER_MIB = 1024
HIGHEST_CELLS = 128


def parse_cell_count(specs: Specs) -> int | None:
    """``hw:numa_nodes`` or ``hw_numa_nodes``; None when nobody says."""
    flavor, image = specs.pair("numa_nodes")
    if flavor and image:
        raise BadRequest(
            "hw_numa_nodes", image, f"the flavor says hw:numa_nodes={flavor}, and the image may not speak too"
        )
    key, text = ("hw:numa_nodes", flavor) if flavor else ("hw_numa_nodes", image)
    return whole_number(key, text, most=HIGHEST_CELLS)


def parse_cells(specs: Specs, *, count: int, ram_mb: int, dedicated: CpuSet) -> tuple[GuestCell, ...]:
    """The guest's cells: spelled out where the request does, else even parts."""
    cpus_prefix, cpus = _numbered(specs, "numa_cpus")
    mem_prefix, mems = _numbered(specs, "numa_mem")
    if not cpus and not mems:
        return even_cells(count=count, vcpus=specs.vcpus, ram_mb=ram_mb, dedicated=dedicated)
    for prefix, listed in ((cpus_prefix + "numa_cpus", cpus), (mem_prefix + "numa_mem", mems)):
        if len(listed) != count:
            raise BadRequest(
                prefix,
                ",".join(listed) or "absent",
                f"numa_cpus.N and numa_mem.N describe {count} guest cell{'s' * (count > 1)} or none",
                allowed=f"N from 0 to {count - 1}, and hw:numa_nodes={count}" if count > 1 else "N = 0",
            )
    return _listed_cells(
        [(f"{cpus_prefix}numa_cpus.{n}", text) for n, text in enumerate(cpus)],
        [(f"{mem_prefix}numa_mem.{n}", text) for n, text in enumerate(mems)],
        vcpus=specs.vcpus,
        ram_mb=ram_mb,
        dedicated=dedicated,
    )


def count_listed(specs: Specs) -> int:
    """How many guest cells ``numa_cpus.N`` and ``numa_mem.N`` spell out."""
    return max(len(_numbered(specs, "numa_cpus")[1]), len(_numbered(specs, "numa_mem")[1]))


def even_cells(*, count: int, vcpus: int, ram_mb: int, dedicated: CpuSet) -> tuple[GuestCell, ...]:
    """The guest in ``count`` equal parts; BadRequest when vCPUs or MiB do not divide."""
    if vcpus % count or ram_mb % count:
        what = f"{vcpus} vCPUs" if vcpus % count else f"{ram_mb} MiB"
        raise BadRequest(
            "hw:numa_nodes",
            count,
            f"{what} cannot be split evenly",
            allowed="a divisor of both, or hw:numa_cpus.N and hw:numa_mem.N",
        )
    each = vcpus // count
    parts = [CpuSet(range(n * each, (n + 1) * each)) for n in range(count)]
    return tuple(GuestCell(part, part & dedicated, ram_mb // count * KIB_PER_MIB) for part in parts)


def _numbered(specs: Specs, name: str) -> tuple[str, list[str]]:
    """The values of ``name.0``, ``name.1`` … and the prefix, ``hw:`` or ``hw_``, they were found under."""
    flavor = _run(specs.flavor, f"hw:{name}.")
    image = _run(specs.image, f"hw_{name}.")
    if flavor and image:
        raise BadRequest(
            f"hw_{name}.0", image[0], f"the flavor says hw:{name}.0={flavor[0]}, and the image may not speak too"
        )
    return ("hw_", image) if image else ("hw:", flavor)


def _run(values: dict[str, str], prefix: str) -> list[str]:
    found: list[str] = []
    while (key := f"{prefix}{len(found)}") in values:
        found.append(values[key])
    return found


def _listed_cells(
    cpus: list[tuple[str, str]], mems: list[tuple[str, str]], *, vcpus: int, ram_mb: int, dedicated: CpuSet
) -> tuple[GuestCell, ...]:
    cells = []
    everything = CpuSet(range(vcpus))
    seen = EMPTY
    total_mb = 0
    for (cpu_key, cpu_text), (mem_key, mem_text) in zip(cpus, mems, strict=True):
        part = cpu_list(cpu_key, cpu_text)
        if not part <= everything:
            raise BadRequest(cpu_key, cpu_text, words(part, vcpus))
        if part & seen:
            raise BadRequest(cpu_key, cpu_text, f"names vCPUs {part & seen} that another guest cell has")
        seen = seen | part
        memory_mb = number_of(mem_key, mem_text or "0")
        total_mb += memory_mb
        cells.append(GuestCell(part, part & dedicated, memory_mb * KIB_PER_MIB))
    if seen != everything:
        raise BadRequest(cpus[-1][0], cpus[-1][1], f"vCPUs {everything - seen} belong to no guest cell")
    if total_mb != ram_mb:
        raise BadRequest(mems[-1][0], mems[-1][1], f"the guest cells have {total_mb} MiB, the flavor has {ram_mb}")
    return tuple(cells)
