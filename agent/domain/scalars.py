"""Numbers in domain XML: counts, sizes, CPU lists, ids, addresses; an error names the document and the element."""

from __future__ import annotations

from agent.core.cpulist import BadCpuList
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.domain.document import Element

MOST_THREADS = 1 << 14
"""More vCPUs or I/O threads than any machine type of QEMU takes (4,096), and a bound on cell numbers."""

_UNITS = {"b": 1, "bytes": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}
_UNITS |= {letter + "ib": _UNITS[letter] for letter in "kmgtpe"}
_UNITS |= {letter + "b": 1000**power for power, letter in enumerate("kmgtpe", 1)}


def parse_count(text: str | None, where: str, *, most: int = 1 << 62) -> int:
    """A decimal number from 0 to ``most``; BadInput names ``where``."""
    body = (text or "").strip()
    if not (body.isascii() and body.isdigit()) or len(body) > 19 or int(body) > most:
        raise BadInput(f"{where}: found {body[:40]!r}; allowed: a number from 0 to {most}")
    return int(body)


def parse_memory_kib(text: str | None, unit: str | None, where: str) -> int:
    """A size in libvirt's units (``KiB`` when none is named, ``KB`` is 1,000 bytes), rounded up to KiB."""
    factor = _UNITS.get((unit or "KiB").lower())
    if factor is None:
        raise BadInput(f"{where}: unit {unit!r}; allowed: b, KiB, MiB, GiB, TiB, or KB, MB, GB, TB")
    return -(-parse_count(text, where) * factor // 1024)


def parse_cpus(text: str | None, where: str) -> CpuSet:
    """A CPU list, ``^`` exclusions included; None is the empty set."""
    try:
        return CpuSet.parse(text or "")
    except BadCpuList as why:
        raise BadInput(f"{where}: {why}") from why


def vcpu_count(domain: Element, *, source: str) -> int:
    """The domain's vCPUs, those that could be plugged in included; libvirt's default is 1."""
    node = domain.find("vcpu")
    return 1 if node is None else parse_count(node.text, f"{source}: <vcpu>", most=MOST_THREADS)


def plugged_vcpus(domain: Element, *, source: str) -> CpuSet:
    """The vCPUs that a running guest has: those that ``<vcpus>`` enables, else the first ``current`` ones, else all."""
    count = vcpu_count(domain, source=source)
    rows = domain.findall("vcpus/vcpu")
    if rows:
        where = f"{source}: <vcpus>"
        return CpuSet(
            parse_count(row.get("id"), where, most=MOST_THREADS) for row in rows if row.get("enabled") == "yes"
        )
    node = domain.find("vcpu")
    current = None if node is None else node.get("current")
    return CpuSet(range(count if current is None else parse_count(current, f"{source}: <vcpu current>", most=count)))


def memory_kib(domain: Element, *, source: str) -> int:
    """The domain's memory; a domain without ``<memory>`` has that of its guest cells, or 0."""
    node = domain.find("memory")
    if node is not None:
        return parse_memory_kib(node.text, node.get("unit"), f"{source}: <memory>")
    return sum(
        parse_memory_kib(cell.get("memory"), cell.get("unit"), f"{source}: <cell>")
        for cell in domain.iterfind("cpu/numa/cell")
    )


def iothread_ids(domain: Element, *, source: str = "domain XML") -> list[int]:
    """The ids of the domain's I/O threads: those named, then the lowest free ones up to ``<iothreads>``."""
    ids = [
        parse_count(node.get("id"), f"{source}: <iothread id>", most=MOST_THREADS)
        for node in domain.iterfind("iothreadids/iothread")
    ]
    count = parse_count(domain.findtext("iothreads") or "0", f"{source}: <iothreads>", most=MOST_THREADS)
    candidate = 1
    while len(ids) < count:
        if candidate not in ids:
            ids.append(candidate)
        candidate += 1
    return sorted(ids)


def pci_of(hostdev: Element, *, source: str = "domain XML") -> tuple[int, int, int, int] | None:
    """The host address that a ``<hostdev type='pci'>`` names; None for other kinds."""
    address = hostdev.find("source/address")
    if hostdev.get("type") != "pci" or address is None:
        return None
    texts = [address.get(key, "0") for key in ("domain", "bus", "slot", "function")]
    try:
        domain, bus, slot, function = (int(text, 0) for text in texts)
    except ValueError as why:
        raise BadInput(f"{source}: <hostdev> address {texts} is no PCI address") from why
    return domain, bus, slot, function
