"""Bring a running guest's memory to the cells that its metadata names, bounded and throttled.

In mode ``restrictive`` libvirt itself changes the cells and the kernel moves the pages.  In the other modes libvirt
refuses (its memory policy is QEMU's own, set by mbind), so: the guest's cgroups may use both the old cells and the new;
the pages move piece by piece; then the cgroups may use the new cells alone, at which the kernel rewrites the policies
of the mappings (mpol_rebind_mm) and moves what is left.  Huge pages move as others do, into free pages of the new
cell's pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from agent.compute.driver import Driver
from agent.compute.move_pages import MemoryState, Moved, PageRun, Range, find_runs, move_ranges, move_rest
from agent.compute.prove import observe_host
from agent.core.cpulist import format_ids
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.observation import Cgroup, ObservedGuest
from agent.core.placement import Placement
from agent.core.policy import MemPolicy
from agent.core.units import format_kib
from agent.domain.parse import parse_intent
from agent.inspection.cpuset_mems import mems_file
from agent.inspection.files import Root

USUAL_MIB_PER_S = 1024

Progress = Callable[[Moved], None]


def settle_memory(
    libvirt: Driver, name: str, *, mib_per_s: int = USUAL_MIB_PER_S, progress: Progress = lambda _moved: None
) -> None:
    """Move all pages of a running guest of ours to where its live metadata says; a foreign guest's stay.

    CellwrightError when some of the guest's memory would not move.
    """
    wanted = _wanted(libvirt, name)
    if wanted is None:
        return
    if wanted.mempolicy is MemPolicy.RESTRICTIVE:
        libvirt.set_nodeset(name, cells_of(wanted))
        return
    guest, pid = _observe(libvirt, name)
    held = held_cgroups(guest)
    with _mems(held, after={one.path: cells_of(wanted) for one in held}):
        ranges = ranges_of(guest, wanted)
        move_ranges(pid, ranges, mib_per_s=mib_per_s, progress=progress)
        if len(wanted.cells) == 1 and guest.memory is not None:
            target = wanted.cells[0].host_cell
            for source in sorted({pages.host_cell for pages in guest.memory.sums.cells} - {target}):
                move_rest(pid, source=source, target=target)
        _check_moved(name, pid, ranges)


def read_memory_state(libvirt: Driver, name: str) -> MemoryState | None:
    """Which pages of a running guest of ours are elsewhere, and what holds them; None for a guest without cells."""
    wanted = _wanted(libvirt, name)
    if wanted is None:
        return None
    guest, pid = _observe(libvirt, name)
    runs = find_runs(pid, ranges_of(guest, wanted))
    if wanted.mempolicy is MemPolicy.RESTRICTIVE:
        return MemoryState(pid, runs, nodeset=libvirt.numa(name)[1])
    return MemoryState(pid, runs, cgroups=held_cgroups(guest))


def bring_pages_home(libvirt: Driver, name: str, state: MemoryState, *, mib_per_s: int, progress: Progress) -> None:
    """Move the pages that ``state`` found elsewhere, and those alone; the cells and policies of the guest follow."""
    wanted = _wanted(libvirt, name)
    if wanted is None:
        return
    ranges = tuple(_range_of(run, run.home) for run in state.runs)
    if state.nodeset is not None and state.nodeset != cells_of(wanted):
        libvirt.set_nodeset(name, cells_of(wanted))
    with _mems(state.cgroups, after={one.path: cells_of(wanted) for one in state.cgroups}):
        move_ranges(state.pid, ranges, mib_per_s=mib_per_s, progress=progress)
        _check_moved(name, state.pid, ranges)


def restore_memory(libvirt: Driver, name: str, before: MemoryState) -> str:
    """The pages and cells of a running guest as they were ``before`` they were brought home; another process's stay.

    Answers what stays home all the same, for people: see ``describe_memory``.
    """
    guest, pid = _observe(libvirt, name)
    if pid != before.pid:
        return ""
    if before.nodeset is not None:
        libvirt.set_nodeset(name, before.nodeset)
    back, kept = _split_runs(before)
    ranges = tuple(_range_of(run, run.cell) for run in back)
    with _mems(held_cgroups(guest), after={one.path: one.mems or CpuSet() for one in before.cgroups}):
        move_ranges(pid, ranges, mib_per_s=USUAL_MIB_PER_S, progress=lambda _moved: None)
    return _describe_kept(kept)


def describe_memory(before: MemoryState) -> list[str]:
    """What ``restore_memory`` does with the pages, a line each: ``128 MiB: cell 0 -> 1``.

    Pages that were on a cell which the guest's cgroups did not allow stay home: as soon as the cgroups are again as
    they were, the kernel moves them from there.
    """
    back, kept = _split_runs(before)
    sizes = dict.fromkeys(sorted({(run.home, run.cell) for run in back}), 0)
    for run in back:
        sizes[run.home, run.cell] += run.pages * run.page_kib
    lines = [f"{format_kib(kib)}: cell {home} -> {cell}" for (home, cell), kib in sizes.items()]
    return [*lines, note] if (note := _describe_kept(kept)) else lines


def _split_runs(before: MemoryState) -> tuple[list[PageRun], list[PageRun]]:
    """The pages that go back to where they were, and those that the guest's cgroups do not allow there."""
    allowed = before.nodeset or CpuSet(cell for one in before.cgroups for cell in one.mems or ())
    back = [run for run in before.runs if run.cell in allowed]
    return back, [run for run in before.runs if run.cell not in allowed]


def _describe_kept(kept: Sequence[PageRun]) -> str:
    if not kept:
        return ""
    size = format_kib(sum(run.pages * run.page_kib for run in kept))
    cells = format_ids(run.cell for run in kept)
    return f"{size} of its memory stay where they belong: they were on cell {cells}, which its cgroups do not allow"


def cells_of(placement: Placement) -> CpuSet:
    """The host cells of a placement, as libvirt's nodesets are written."""
    return CpuSet(cell.host_cell for cell in placement.cells)


def ranges_of(guest: ObservedGuest, wanted: Placement) -> tuple[Range, ...]:
    """The guest's memory as stretches with the cell that each belongs on; blocks that were not found are left out."""
    targets = {cell.guest_cell: cell.host_cell for cell in wanted.cells}
    found = []
    for ram in guest.memory.ram if guest.memory else ():
        cell = targets.get(ram.backend.guest_cell or 0)
        if cell is None or ram.identified_by is None or not ram.addresses:
            continue
        page_kib = max((pages.page_kib for pages in ram.pages), default=4)
        found.append(Range(min(ram.addresses), ram.backend.size_kib, page_kib, cell))
    return tuple(found)


def held_cgroups(guest: ObservedGuest) -> tuple[Cgroup, ...]:
    """The cgroups that the guest's own threads are in and that hold them to some cells."""
    own = {thread.cgroup for thread in guest.threads}
    return tuple(one for one in guest.cgroups if one.path in own and one.mems)


def _wanted(libvirt: Driver, name: str) -> Placement | None:
    intent = parse_intent(libvirt.xml(name), source=f"domain {name}")
    return intent.placement if intent is not None and intent.placement.cells else None


def _observe(libvirt: Driver, name: str) -> tuple[ObservedGuest, int]:
    observation, _ = observe_host(libvirt, names=[name])
    guest = next((one for one in observation.guests if one.name == name), None)
    if guest is None or guest.pid is None or guest.memory is None:
        raise CellwrightError(f"domain {name}: its memory cannot be read, so it cannot be moved")
    return guest, guest.pid


def _range_of(run: PageRun, cell: int) -> Range:
    return Range(run.address, run.pages * run.page_kib, run.page_kib, cell)


def _check_moved(name: str, pid: int, ranges: tuple[Range, ...]) -> None:
    """Pages that were busy get a second chance; what is elsewhere then is an error."""
    stuck = find_runs(pid, ranges)
    if not stuck:
        return
    move_ranges(
        pid,
        tuple(_range_of(run, run.home) for run in stuck),
        mib_per_s=USUAL_MIB_PER_S,
        progress=lambda _moved: None,
    )
    if stuck := find_runs(pid, ranges):
        size = format_kib(sum(run.pages * run.page_kib for run in stuck))
        pages, cells = format_ids(run.page_kib for run in stuck), format_ids(run.home for run in stuck)
        raise CellwrightError(
            f"domain {name}: {size} in pages of {pages} KiB would not move to cell {cells}: its free pages of that size"
            " do not suffice (cellwright topology shows them), or somebody pinned them (VFIO, RDMA)"
        )


@contextmanager
def _mems(cgroups: Sequence[Cgroup], *, after: Mapping[str, CpuSet]) -> Iterator[None]:
    """All cells, old and new, while the body runs; the new ones afterwards, the old ones again when it fails."""
    changing = [(one, one.mems or CpuSet(), after[one.path]) for one in cgroups if after.get(one.path)]
    changing = [(one, now, then) for one, now, then in changing if now != then]
    try:
        for one, now, then in changing:
            _write_mems(one, now | then)
        yield
        for one, _, then in changing:
            _write_mems(one, then)
    except BaseException:
        for one, now, _ in changing:
            _write_mems(one, now)
        raise


def _write_mems(cgroup: Cgroup, cells: CpuSet) -> None:
    path = mems_file(Root(), cgroup)
    try:
        path.write_text(f"{cells}\n")
    except FileNotFoundError:
        return  # libvirt took the cgroup away with its thread
    except OSError as why:
        raise CellwrightError(f"{path}: {cells} cannot be written: {why.strerror}") from why
