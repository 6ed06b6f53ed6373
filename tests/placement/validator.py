"""Every rule a Placement must keep, checked the slow and obvious way.

Nothing here is shared with agent.placement: what a request means is read again from its keys, and every rule walks over
sets.  ``broken_rules`` answers one sentence for each rule that does not hold; a right placement answers none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.core.cpuset import CpuSet
from agent.core.placement import Misfit, PlacedCell, Placement
from agent.core.policy import PciAffinity
from agent.core.request import Request, spec_text
from agent.core.topology import Cell, HostTopology
from agent.core.units import parse_size_kib
from agent.core.usage import CellUsage, Limits, Usage


@dataclass(frozen=True)
class Case:
    host: HostTopology
    usage: Usage
    request: Request
    limits: Limits | None
    placement: Placement

    def spec(self, key: str) -> str | None:
        """The value of ``hw:KEY`` of the flavor, or of the image's ``hw_KEY``."""
        for values, name in (
            (self.request.flavor.extra_specs, f"hw:{key}"),
            (self.request.image.properties, f"hw_{key}"),
        ):
            if name in values:
                return spec_text(values[name])
        return None

    def extra(self, key: str) -> str | None:
        value = self.request.flavor.extra_specs.get(key)
        return None if value is None else spec_text(value)

    def cpu_policy(self) -> str:
        if self.extra("resources:PCPU"):
            return "dedicated"
        return self.spec("cpu_policy") or "shared"

    def thread_policy(self) -> str:
        trait = self.extra("trait:HW_CPU_HYPERTHREADING") or spec_text(
            self.request.image.properties.get("trait:HW_CPU_HYPERTHREADING", "")
        )
        return {"forbidden": "isolate", "required": "require"}.get(trait) or self.spec("cpu_thread_policy") or "prefer"

    def vcpus(self) -> CpuSet:
        return CpuSet(range(self.request.flavor.vcpus))

    def dedicated_vcpus(self) -> CpuSet:
        if self.cpu_policy() == "dedicated":
            return self.vcpus()
        if self.cpu_policy() == "mixed":
            mask = self.extra("hw:cpu_dedicated_mask")
            return self.realtime_vcpus() if mask is None else self.mask(mask)
        return CpuSet()

    def realtime_vcpus(self) -> CpuSet:
        if (self.extra("hw:cpu_realtime") or "").lower() not in ("1", "t", "true", "on", "y", "yes"):
            return CpuSet()
        in_image = self.request.image.properties.get("hw_cpu_realtime_mask")
        mask = self.extra("hw:cpu_realtime_mask") if in_image is None else spec_text(in_image)
        return self.vcpus() if mask is None else self.mask(mask)

    def mask(self, text: str) -> CpuSet:
        """``^0-1`` is all vCPUs but two, ``2-3`` is these two."""
        return CpuSet.parse(f"{self.vcpus()},{text}") if text.startswith("^") else CpuSet.parse(text)

    def host_cell(self, number: int) -> Cell | None:
        return next((cell for cell in self.host.cells if cell.id == number), None)

    def used(self, number: int) -> CellUsage:
        return next((cell for cell in self.usage.cells if cell.id == number), CellUsage(number))

    def used_pcpus(self) -> set[int]:
        return {cpu for cell in self.usage.cells for cpu in cell.pinned}

    def owned_pins(self) -> list[tuple[PlacedCell, int, int]]:
        """(guest cell, vCPU, pCPU) of every dedicated vCPU that has a pin."""
        found = []
        for cell in self.placement.cells:
            for vcpu in cell.vcpus & self.dedicated_vcpus():
                found += [(cell, vcpu, cpu) for cpu in cell.pins.get(vcpu, ())]
        return found

    def core_of(self, pcpu: int) -> set[int]:
        for cell in self.host.cells:
            for core in cell.cores:
                if pcpu in core.cpus:
                    return set(core.cpus)
        return {pcpu}


Rule = Callable[[Case], Iterator[str]]


def broken_rules(
    host: HostTopology, usage: Usage, request: Request, limits: Limits | None, placement: Placement
) -> list[str]:
    """One sentence for each rule the placement breaks."""
    case = Case(host, usage, request, limits, placement)
    return [f"{rule.__name__}: {sentence}" for rule in RULES for sentence in rule(case)]


def check(
    host: HostTopology, usage: Usage, request: Request, limits: Limits | None, answer: Placement | Misfit
) -> None:
    """Fail with every broken rule; a misfit must give at least one reason."""
    if isinstance(answer, Misfit):
        assert answer.misfits, "a misfit without a reason"
        return
    broken = broken_rules(host, usage, request, limits, answer)
    assert not broken, "\n".join([*broken, str(answer)])


def totals(case: Case) -> Iterator[str]:
    placement, flavor = case.placement, case.request.flavor
    if placement.vcpus != flavor.vcpus or placement.memory_kib != flavor.ram_mb * 1024:
        yield f"{placement.vcpus} vCPUs and {placement.memory_kib} KiB of {flavor.vcpus} and {flavor.ram_mb} MiB"
    if placement.host != case.host.hostname or placement.name != case.request.name:
        yield f"names {placement.host!r} {placement.name!r}"
    seen = placement.cpu_topology
    if seen.sockets * seen.cores * seen.threads != flavor.vcpus or min(seen.sockets, seen.cores, seen.threads) < 1:
        yield f"guest CPU topology {seen} of {flavor.vcpus} vCPUs"


def guest_cells(case: Case) -> Iterator[str]:
    """Cells when NUMA or pinning is asked for, as many as asked, each vCPU and each MiB in exactly one."""
    cells = case.placement.cells
    keys = ("numa_nodes", "numa_cpus.0", "mem_page_size")
    wants_cells = case.cpu_policy() != "shared" or any(case.spec(key) for key in keys)
    auto = case.extra("cw:numa_nodes") == "auto"
    if not cells:
        if wants_cells or auto:
            yield "no cells, though NUMA, pages or pinning are asked for"
        return
    if not wants_cells and not auto and not any(key.startswith("cw:") for key in case.request.flavor.extra_specs):
        yield "cells, though nothing asks for them"
    if [cell.guest_cell for cell in cells] != list(range(len(cells))):
        yield f"guest cells are numbered {[cell.guest_cell for cell in cells]}"
    count = int(case.spec("numa_nodes") or 1)
    if len(cells) != count and not auto:
        yield f"{len(cells)} cells of {count}"
    per_vcpu = Counter(vcpu for cell in cells for vcpu in cell.vcpus)
    if dict(per_vcpu) != dict.fromkeys(case.vcpus(), 1):
        yield f"vCPUs are in cells {dict(per_vcpu)} times"
    if sum(cell.memory_kib for cell in cells) != case.request.flavor.ram_mb * 1024:
        yield "the cells' memory is not the guest's"
    for cell in cells:
        own_vcpus, own_mem = case.spec(f"numa_cpus.{cell.guest_cell}"), case.spec(f"numa_mem.{cell.guest_cell}")
        if case.spec("numa_cpus.0"):
            if own_vcpus is None or cell.vcpus != CpuSet.parse(own_vcpus):
                yield f"guest cell {cell.guest_cell} has vCPUs {cell.vcpus}, asked for {own_vcpus}"
            if own_mem is None or cell.memory_kib != int(own_mem) * 1024:
                yield f"guest cell {cell.guest_cell} has {cell.memory_kib} KiB, asked for {own_mem} MiB"
        elif len(cell.vcpus) * len(cells) != case.request.flavor.vcpus:
            yield f"guest cell {cell.guest_cell} has {len(cell.vcpus)} vCPUs, not its equal share"


def host_cells(case: Case) -> Iterator[str]:
    """Distinct host cells that exist, and none that an exact wish forbids."""
    per_cell = Counter(cell.host_cell for cell in case.placement.cells)
    for number, count in sorted(per_cell.items()):
        if case.host_cell(number) is None:
            yield f"host cell {number} does not exist"
        if count > 1:
            yield f"host cell {number} holds {count} guest cells"


def pins(case: Case) -> Iterator[str]:
    """Dedicated vCPUs own one free dedicated pCPU of their cell each; the others float over the cell's shared pCPUs."""
    dedicated = case.dedicated_vcpus()
    owners = Counter(cpu for _, _, cpu in case.owned_pins())
    yield from (f"pCPU {cpu} has {count} owners" for cpu, count in sorted(owners.items()) if count > 1)
    for cell in case.placement.cells:
        host_cell = case.host_cell(cell.host_cell)
        inside = set() if host_cell is None else set(host_cell.cpus)
        if sorted(cell.pins) != list(cell.vcpus):
            yield f"guest cell {cell.guest_cell} pins vCPUs {sorted(cell.pins)} of {cell.vcpus}"
        wanted = "shared"
        if cell.vcpus & dedicated:
            wanted = "dedicated" if cell.vcpus <= dedicated else "mixed"
        if cell.policy != wanted and cell.policy != case.cpu_policy():
            yield f"guest cell {cell.guest_cell} is {cell.policy}, not {wanted}"
        for vcpu, cpus in sorted(cell.pins.items()):
            if vcpu in dedicated:
                if len(cpus) != 1:
                    yield f"dedicated vCPU {vcpu} has {len(cpus)} pCPUs"
                for cpu in cpus:
                    if cpu not in inside:
                        yield f"vCPU {vcpu} is on pCPU {cpu}, outside host cell {cell.host_cell}"
                    if cpu not in case.host.dedicated():
                        yield f"vCPU {vcpu} is on pCPU {cpu}, which is not in the dedicated set"
                    if cpu in case.used_pcpus():
                        yield f"vCPU {vcpu} is on pCPU {cpu}, which another guest owns"
            elif set(cpus) != inside & set(case.host.shared()):
                yield f"floating vCPU {vcpu} is on {cpus}, not on the shared pCPUs of host cell {cell.host_cell}"
            elif not cpus:
                yield f"floating vCPU {vcpu} has no pCPU"


def threads(case: Case) -> Iterator[str]:
    """``require``: two or more vCPUs a core, one core may hold an odd one out; ``isolate``: whole cores of our own."""
    policy = case.thread_policy()
    if case.cpu_policy() == "shared" or policy == "prefer":
        return
    for cell in case.placement.cells:
        mine = [cpu for placed, _, cpu in case.owned_pins() if placed is cell]
        per_core: dict[tuple[int, ...], set[int]] = {}
        for cpu in mine:
            per_core.setdefault(tuple(sorted(case.core_of(cpu))), set()).add(cpu)
        for core, own in sorted(per_core.items()):
            if policy == "isolate":
                yield from _isolated(case, core, own)
            elif len(core) < 2:
                yield f"require, but pCPU {core[0]} has no sibling"
        if policy == "require":
            lone = [core for core, own in sorted(per_core.items()) if len(own) == 1]
            if len(lone) > 1:
                yield f"require, but {len(lone)} cores of host cell {cell.host_cell} hold a single vCPU: {lone}"
            for core in lone:
                usable = set(core) & set(case.host.dedicated()) - case.used_pcpus()
                if len(usable) < 2:
                    yield f"require, but core {core} had only pCPUs {sorted(usable)} to give"


def _isolated(case: Case, core: tuple[int, ...], own: set[int]) -> Iterator[str]:
    if len(own) > 1:
        yield f"isolate, but core {core} holds {len(own)} vCPUs"
    for sibling in sorted(set(core) - own):
        if sibling in case.used_pcpus():
            yield f"isolate, but pCPU {sibling} of core {core} belongs to another guest"
        if sibling in case.host.dedicated():
            if sibling not in case.placement.reserved:
                yield f"isolate, but pCPU {sibling} of core {core} is not kept idle"
        elif sibling in case.host.shared():
            yield f"isolate, but floating guests may use pCPU {sibling} of core {core}"


def reserved(case: Case) -> Iterator[str]:
    """Reserved pCPUs are free dedicated ones: one for the emulator, and the idle siblings of isolated cores only."""
    pinned = {cpu for _, _, cpu in case.owned_pins()}
    kept = set(case.placement.reserved)
    for cpu in sorted(kept):
        if cpu in pinned:
            yield f"pCPU {cpu} is reserved and pinned"
        if cpu not in case.host.dedicated():
            yield f"pCPU {cpu} is reserved, though not in the dedicated set"
        if cpu in case.used_pcpus():
            yield f"pCPU {cpu} is reserved, though another guest owns it"
    isolates_emulator = case.extra("hw:emulator_threads_policy") == "isolate"
    explained = set(case.placement.emulator) if isolates_emulator else set()
    if case.thread_policy() == "isolate" and case.cpu_policy() != "shared":
        explained |= {sibling for cpu in pinned | explained for sibling in case.core_of(cpu)}
    explained |= {cpu for cpus in case.placement.iothreads.values() for cpu in cpus}
    if kept - explained:
        yield f"pCPUs {CpuSet(kept - explained)} are reserved for nothing"


def emulator(case: Case) -> Iterator[str]:
    placement, cells = case.placement, case.placement.cells
    where = set(placement.emulator)
    if not where:
        yield "the emulator has no pCPU"
    if not cells:
        if not where <= set(case.host.shared() or case.host.usable() - case.host.dedicated()):
            yield f"a floating guest's emulator is on {placement.emulator}, not in the shared set"
        return
    policy = case.extra("hw:emulator_threads_policy")
    pinned = {cpu for _, _, cpu in case.owned_pins()}
    floating = {cpu for cell in cells for vcpu, cpus in cell.pins.items() for cpu in cpus}
    if policy == "isolate":
        first = case.host_cell(cells[0].host_cell)
        if len(where) != 1 or not where <= set(placement.reserved) or where & pinned:
            yield f"isolate, but the emulator is on {placement.emulator} and {placement.reserved} is reserved"
        if first is None or not where <= set(first.cpus):
            yield f"isolate, but pCPU {placement.emulator} is not on the host cell of guest cell 0"
        if case.thread_policy() == "isolate" and any(case.core_of(cpu) & pinned for cpu in where):
            yield f"isolate, but the emulator's pCPU {placement.emulator} shares a core with a vCPU"
        return
    allowed = floating | (set(case.host.shared()) if policy == "share" else set())
    if not where <= allowed:
        yield f"the emulator is on {CpuSet(where - allowed)}, neither its own nor shared pCPUs"
    if case.cpu_policy() == "dedicated" and where & case.used_pcpus():
        yield f"the emulator is on {CpuSet(where & case.used_pcpus())}, which other guests own"
    realtime_on = {cpu for cell in cells for vcpu in cell.vcpus & placement.realtime for cpu in cell.pins[vcpu]}
    if policy is None and where & realtime_on and case.cpu_policy() != "shared":
        yield f"the emulator is on {CpuSet(where & realtime_on)}, where realtime vCPUs run"


def iothreads(case: Case) -> Iterator[str]:
    own = {cpu for cell in case.placement.cells for cpus in cell.pins.values() for cpu in cpus}
    allowed = own | set(case.placement.reserved) | set(case.placement.emulator) | set(case.host.shared())
    for number, cpus in sorted(case.placement.iothreads.items()):
        if not cpus:
            yield f"I/O thread {number} has no pCPU"
        if not set(cpus) <= allowed:
            yield f"I/O thread {number} is on {CpuSet(set(cpus) - allowed)}, neither the guest's own nor shared pCPUs"


def realtime(case: Case) -> Iterator[str]:
    if case.placement.realtime != case.realtime_vcpus():
        yield f"realtime vCPUs are {case.placement.realtime}, asked for {case.realtime_vcpus()}"
    wants_lock = (case.spec("locked_memory") or "").lower() in ("1", "t", "true", "on", "y", "yes")
    if not case.placement.locked and (wants_lock or case.realtime_vcpus()):
        yield "memory is not locked, though asked for"


def pages(case: Case) -> Iterator[str]:
    """Memory as pages: the size asked for, a whole number of them, and enough of them free."""
    flavor, image = case.extra("hw:mem_page_size"), case.request.image.properties.get("hw_mem_page_size")
    wish = spec_text(image) if image is not None else flavor
    for cell in case.placement.cells:
        host_cell = case.host_cell(cell.host_cell)
        if host_cell is None:
            continue
        sizes = sorted(pool.size_kib for pool in host_cell.pages)
        if wish is None:
            if cell.page_kib is not None:
                yield f"guest cell {cell.guest_cell} has {cell.page_kib} KiB pages, and no size was asked for"
            yield from _small_memory(case, cell, host_cell, sizes)
            continue
        allowed = {"small": sizes[:1], "large": sizes[1:], "any": sizes}.get(wish)
        if allowed is None:
            allowed = [parse_size_kib(wish)]
        if cell.page_kib not in allowed or cell.page_kib not in sizes:
            yield f"guest cell {cell.guest_cell} has {cell.page_kib} KiB pages; {wish} on this cell allows {allowed}"
            continue
        if cell.memory_kib % cell.page_kib:
            yield f"{cell.memory_kib} KiB are no whole number of {cell.page_kib} KiB pages"
        free = _free_pages(case, host_cell, cell.page_kib)
        if cell.memory_kib > free * cell.page_kib:
            yield f"host cell {host_cell.id} has {free} free {cell.page_kib} KiB pages for {cell.memory_kib} KiB"


def _free_pages(case: Case, cell: Cell, size_kib: int) -> int:
    limits = case.limits or Limits()
    total = next(pool.total for pool in cell.pages if pool.size_kib == size_kib)
    used = sum(use.used for use in case.used(cell.id).pages if use.size_kib == size_kib)
    kept = sum(own.count for own in limits.reserved_huge_pages if (own.cell, own.size_kib) == (cell.id, size_kib))
    if size_kib == min(pool.size_kib for pool in cell.pages):
        kept += limits.reserved_memory_mb.get(cell.id, 0) * 1024 // size_kib
    return total - used - kept


def _small_memory(case: Case, cell: PlacedCell, host_cell: Cell, sizes: list[int]) -> Iterator[str]:
    if not sizes:
        if cell.memory_kib > (host_cell.memory_kib or 0):
            yield f"guest cell {cell.guest_cell} has more memory than host cell {host_cell.id}"
        return
    total = next(pool.total for pool in host_cell.pages if pool.size_kib == sizes[0])
    have = total if case.cpu_policy() == "shared" else _free_pages(case, host_cell, sizes[0])
    if cell.memory_kib > have * sizes[0]:
        yield f"host cell {host_cell.id} has {have * sizes[0]} KiB for {cell.memory_kib} KiB in small pages"


def overcommit(case: Case) -> Iterator[str]:
    """Floating vCPUs and the memory of their cells stay within the ratios, and never exceed the whole cell alone.

    As in Nova, the ratios hold for every cell of a mixed guest, also for one whose vCPUs are all dedicated.
    """
    for cell in case.placement.cells:
        floating = cell.vcpus - case.dedicated_vcpus()
        host_cell = case.host_cell(cell.host_cell)
        if host_cell is None or case.cpu_policy() == "dedicated":
            continue
        shared = len(set(host_cell.cpus) & set(case.host.shared()))
        if len(floating) > shared:
            yield f"{len(floating)} floating vCPUs on {shared} shared pCPUs of host cell {host_cell.id}"
        if case.limits is None:
            continue
        used = case.used(host_cell.id)
        ratio = case.limits.cpu_allocation_ratio
        if ratio is not None and used.floating_vcpus + len(floating) > shared * ratio:
            yield f"host cell {host_cell.id}: {used.floating_vcpus + len(floating)} floating vCPUs of {shared * ratio}"
        ratio = case.limits.ram_allocation_ratio
        memory = (host_cell.memory_kib or 0) - case.limits.reserved_memory_mb.get(host_cell.id, 0) * 1024
        if ratio is not None and used.memory_kib + cell.memory_kib > memory * ratio:
            yield f"host cell {host_cell.id}: {used.memory_kib} + {cell.memory_kib} KiB of {memory * ratio}"


def devices(case: Case) -> Iterator[str]:
    """Each device exists where the placement says, is given once, and is as near as the affinity policy wants."""
    chosen = {cell.host_cell for cell in case.placement.cells}
    given = Counter(device.pci for device in case.placement.devices)
    yield from (f"device {pci} is given {count} times" for pci, count in sorted(given.items()) if count > 1)
    policy = case.spec("pci_numa_affinity_policy") or PciAffinity.LEGACY
    for device in case.placement.devices:
        homes = [cell.id for cell in case.host.cells if any(own.pci == device.pci for own in cell.devices)]
        homeless = any(own.pci == device.pci for own in case.host.unplaced_devices)
        known = homeless if device.host_cell is None else homes == [device.host_cell]
        if not known:
            yield f"device {device.pci} is not on cell {device.host_cell}"
        if not chosen or policy == PciAffinity.PREFERRED or device.host_cell in chosen:
            continue
        if device.host_cell is None:
            if policy == PciAffinity.REQUIRED:
                yield f"device {device.pci} is on no known cell, and its cell is required"
        elif policy != PciAffinity.SOCKET or not _sockets(case, {device.host_cell}) & _sockets(case, chosen):
            yield f"device {device.pci} on cell {device.host_cell} is not local to cells {sorted(chosen)} ({policy})"


def _sockets(case: Case, numbers: set[int]) -> set[int | None]:
    return {core.socket for cell in case.host.cells if cell.id in numbers for core in cell.cores}


def mempolicy(case: Case) -> Iterator[str]:
    wish = case.spec("numa_mempolicy")
    got = case.placement.mempolicy
    if not case.placement.cells:
        if got is not None:
            yield f"memory policy {got} without cells"
    elif got is None or (wish is not None and got != wish):
        yield f"memory policy {got}, asked for {wish}"


RULES: tuple[Rule, ...] = (
    totals,
    guest_cells,
    host_cells,
    pins,
    threads,
    reserved,
    emulator,
    iothreads,
    realtime,
    pages,
    overcommit,
    devices,
    mempolicy,
)
