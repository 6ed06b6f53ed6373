"""The smallest change that would make a request fit, of the request or of the host; each verified by placing again.

A maker proposes changes of one kind, best first.  ``MAKERS`` orders the kinds from least to most intrusive: first what
only gives up a wish, then what the host's operator can do for the guest, last what makes the guest smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

import msgspec

from agent.core.errors import BadRequest
from agent.core.guest import DeviceWish
from agent.core.misfit import Code
from agent.core.placement import Misfit, Nearest, Placement
from agent.core.policy import EmulatorPolicy, PciAffinity, ThreadPolicy
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.units import format_kib
from agent.core.usage import Limits, Usage
from agent.placement.host_changes import free_pcpus, more_pages, move_guest
from agent.placement.language import parse_guest
from agent.placement.language.devices import ALIAS_KEY
from agent.placement.proposal import Change, Question, ask

Maker = Callable[[Question, Misfit], Iterator[Change]]

MEMORY_CODES = (Code.NOT_ENOUGH_PAGES, Code.NOT_ENOUGH_MEMORY, Code.RAM_RATIO)
SHARE_CODES = (Code.NO_CACHE_IDS, Code.CACHE_TOO_SMALL)
MOST_FIRST = 8
NUMA_KEYS = ("numa_nodes", "numa_cpus.", "numa_mem.")


def nearest(
    host: HostTopology,
    usage: Usage,
    request: Request,
    limits: Limits | None = None,
    *,
    guests: tuple[Placement, ...] = (),
    pairs: bool = True,
) -> Nearest | None:
    """The least intrusive change after which the request fits; None when it fits already, or none was found.

    ``guests`` are the placements of the guests whose claims make up ``usage``, as far as they are known.  Without
    ``pairs`` two changes together are not looked for.
    """
    return next(changes(host, usage, request, limits, guests=guests, pairs=pairs), None)


def changes(
    host: HostTopology,
    usage: Usage,
    request: Request,
    limits: Limits | None = None,
    *,
    guests: tuple[Placement, ...] = (),
    pairs: bool = True,
) -> Iterator[Nearest]:
    """The best change of each kind that makes the request fit, least intrusive first, found one by one; else a pair."""
    question = Question(host=host, usage=usage, request=request, limits=limits, guests=guests)
    misfit = ask(question)
    if isinstance(misfit, Placement):
        return
    alone = False
    for maker in MAKERS:
        found = next(chain.from_iterable(map(_verified, _proposed(maker, question, misfit))), None)
        if found is not None:
            alone = True
            yield found
    if pairs and not alone:
        yield from islice(_pairs(question, misfit), 1)


def _pairs(question: Question, misfit: Misfit) -> Iterator[Nearest]:
    """Two changes together, where none alone is enough; of each kind the first few proposals only."""
    for number, maker in enumerate(MAKERS):
        for first in islice(_proposed(maker, question, misfit), MOST_FIRST):
            asked = first.question
            try:
                left = ask(asked)
            except BadRequest:
                continue
            if isinstance(left, Misfit):
                for other in MAKERS[number + 1 :]:
                    for second in _proposed(other, asked, left):
                        both = Change(
                            f"{first.change}; {second.change}", f"{first.phrase} and {second.phrase}", second.question
                        )
                        yield from _verified(both)


def _proposed(maker: Maker, question: Question, misfit: Misfit) -> Iterator[Change]:
    try:
        yield from maker(question, misfit)
    except BadRequest:
        return  # a first change made the request one that no host could serve


def _verified(change: Change) -> Iterator[Nearest]:
    try:
        answer = ask(change.question)
    except BadRequest:
        return  # other wishes of the request forbid this one
    if isinstance(answer, Placement):
        cells = sorted(cell.host_cell for cell in answer.cells)
        where = f" on cell{'s' * (len(cells) > 1)} {', '.join(map(str, cells))}" if cells else ""
        yield Nearest(change.change, f"fits{where} {change.phrase}")


def _thread_policy(question: Question, misfit: Misfit) -> Iterator[Change]:
    """Siblings wherever they are, instead of ``isolate`` or ``require``."""
    if parse_guest(question.request).thread_policy not in (None, ThreadPolicy.PREFER):
        yield _with_specs(question, {"hw:cpu_thread_policy": "prefer"}, "HW_CPU_HYPERTHREADING")


def _emulator_policy(question: Question, misfit: Misfit) -> Iterator[Change]:
    """The emulator on shared pCPUs, instead of on one of its own."""
    if parse_guest(question.request).emulator_policy is EmulatorPolicy.ISOLATE:
        yield _with_specs(question, {"hw:emulator_threads_policy": "share"})


def _no_shares(question: Question, misfit: Misfit) -> Iterator[Change]:
    """No parts of caches and bandwidth, where the host has none to give."""
    if any(reason.code in SHARE_CODES for reason in misfit.misfits):
        yield _with_specs(question, {}, "cachetune", "memorytune")


def _l3_groups(question: Question, misfit: Misfit) -> Iterator[Change]:
    """Whatever L3 groups there are."""
    if parse_guest(question.request).l3 is not None:
        yield _with_specs(question, {}, "l3")


def _device_affinity(question: Question, misfit: Misfit) -> Iterator[Change]:
    """Devices wherever they are."""
    guest = parse_guest(question.request)
    if guest.devices and guest.pci_affinity is not PciAffinity.PREFERRED:
        yield _with_specs(question, {"hw:pci_numa_affinity_policy": "preferred"}, "pci_numa_affinity_policy")


def _page_size(question: Question, misfit: Misfit) -> Iterator[Change]:
    """Another page size, larger ones first; also for a guest that names none, where the ordinary pages are few."""
    lacks = any(reason.code == Code.NOT_ENOUGH_MEMORY for reason in misfit.misfits)
    if parse_guest(question.request).page is not None or lacks:
        sizes = sorted({pool.size_kib for cell in question.host.cells for pool in cell.pages}, reverse=True)
        for size in sizes:
            yield _with_specs(question, {"hw:mem_page_size": str(size)}, "mem_page_size")


def _cells(question: Question, misfit: Misfit) -> Iterator[Change]:
    """Other host cells than wished for; else another number of guest cells, the fewest first."""
    if parse_guest(question.request).host_cells is not None:
        yield _with_specs(question, {}, "host_cells")
    guest = parse_guest(question.request)
    uneven = len(set(guest.shapes)) > 1
    for count in range(1, len(question.host.cells) + 1):
        if guest.cells and (uneven or count != len(guest.cells)):
            phrase = f"with hw:numa_nodes={count} and even guest cells" if uneven and count > 1 else None
            yield _with_specs(question, {"hw:numa_nodes": str(count)}, *NUMA_KEYS, "host_cells", phrase=phrase)


def _fewer_devices(question: Question, misfit: Misfit) -> Iterator[Change]:
    """The most devices of one alias that there are, the others as wished."""
    wishes = parse_guest(question.request).devices
    for number, wish in enumerate(wishes):
        for count in range(wish.count - 1, 0, -1):
            fewer = (*wishes[:number], DeviceWish(wish.alias, count), *wishes[number + 1 :])
            text = ",".join(f"{each.alias}:{each.count}" for each in fewer)
            yield _with_specs(question, {ALIAS_KEY: text})


def _fewer_vcpus(question: Question, misfit: Misfit) -> Iterator[Change]:
    """The most vCPUs that fit, with the same memory and number of cells; cells that are spelled out become even."""
    guest, specs = parse_guest(question.request), question.request.flavor.extra_specs
    spelled = any(_speaks_of(key, ("numa_cpus.",)) for key in (*specs, *question.request.image.properties))
    counted = any(_speaks_of(key, ("PCPU",)) for key in specs)
    kept = guest.emulator_policy is EmulatorPolicy.ISOLATE
    even = {"hw:numa_nodes": str(len(guest.cells))} if spelled else {}
    phrase = " and even guest cells" if spelled and len(guest.cells) > 1 else ""
    for vcpus in range(guest.vcpus - 1, 0, -1):
        told = {"resources:PCPU": str(vcpus + kept)} if counted else {}
        fewer = _with_specs(question, even | told, *(NUMA_KEYS if spelled else ()))
        change = f"vcpus={vcpus}, {fewer.change}" if fewer.change else f"vcpus={vcpus}"
        yield _resized(fewer.question, change, f"with {vcpus} vCPUs{phrase}", vcpus=vcpus)


def _less_memory(question: Question, misfit: Misfit) -> Iterator[Change]:
    """The most memory that some cell has left for each guest cell."""
    cells = len(parse_guest(question.request).cells)
    page_mib = max((pool.size_kib for cell in question.host.cells for pool in cell.pages), default=1024) // 1024 or 1
    left_mib = {
        (reason.available or 0) // 1024 // step * step
        for reason in misfit.misfits
        if reason.code in MEMORY_CODES
        for step in (1, 2, page_mib)
    }
    for mib in sorted(left_mib, reverse=True):
        if mib > 0:
            size = format_kib(mib * cells * 1024)
            yield _resized(question, f"ram_mb={mib * cells}", f"with {size} of memory", ram_mb=mib * cells)


def _with_specs(question: Question, specs: dict[str, str], *dropped: str, phrase: str | None = None) -> Change:
    """The question with extra specs set, and every key that speaks of what is ``dropped`` taken away."""
    request = question.request
    flavor, image = request.flavor.extra_specs, request.image.properties
    gone = [key for key in (*flavor, *image) if key not in specs and _speaks_of(key, dropped)]
    names = sorted({f"{key.partition('.')[0]}.*" if "." in key else key for key in gone})
    asked = msgspec.structs.replace(
        request,
        flavor=msgspec.structs.replace(
            request.flavor, extra_specs={key: value for key, value in flavor.items() if key not in gone} | specs
        ),
        image=msgspec.structs.replace(
            request.image, properties={key: value for key, value in image.items() if key not in gone}
        ),
    )
    sets = [f"{key}={value}" for key, value in specs.items()]
    words = [f"with {', '.join(sets)}"] * bool(sets) + [f"without {', '.join(names)}"] * bool(names)
    return Change(
        ", ".join([*sets, *[f"no {name}" for name in names]]),
        phrase or " and ".join(words),
        msgspec.structs.replace(question, request=asked),
    )


def _speaks_of(key: str, names: tuple[str, ...]) -> bool:
    bare = key.partition(":")[2] or key.removeprefix("hw_")
    return any(bare == name or (name.endswith(".") and bare.startswith(name)) for name in names)


def _resized(question: Question, change: str, phrase: str, **sizes: int) -> Change:
    flavor = msgspec.structs.replace(question.request.flavor, **sizes)
    request = msgspec.structs.replace(question.request, flavor=flavor)
    return Change(change, phrase, msgspec.structs.replace(question, request=request))


MAKERS: tuple[Maker, ...] = (
    _thread_policy,
    _emulator_policy,
    _no_shares,
    _l3_groups,
    _device_affinity,
    _page_size,
    _cells,
    more_pages,
    move_guest,
    free_pcpus,
    _fewer_devices,
    _fewer_vcpus,
    _less_memory,
)
