"""The ``cw:`` extra specs: what Nova cannot be asked for.

| key | value | means |
| --- | --- | --- |
| cw:host_cells | ``1,0`` | guest cell 0 on host cell 1, guest cell 1 on host cell 0 |
| cw:l3 | ``one``, ``same:GUEST``, ``other:GUEST`` | one L3 group a guest cell; only GUEST's groups; none of those |
| cw:numa_nodes | ``auto`` | one guest cell where it fits, else the fewest |
| cw:iothreads | ``2`` | that many I/O threads |
| cw:iothread_cpus | ``emulator``, ``shared``, ``dedicated``, ``4-5`` | where they run; dedicated: own pCPUs |
| cw:guest_topology | ``host``, ``flat`` | the guest sees pinned siblings as threads; or N sockets of one core |
| cw:prefer_cores | ``fast`` | the fast cores of a hybrid part first |
| cw:vcpu_sched | ``fifo:5``, ``rr:5`` | class and priority of the vCPUs of ``hw:cpu_realtime`` (else ``fifo:1``) |
| cw:iothread_sched | ``fifo:5``, ``rr:5``, ``batch``, ``idle`` | the same of all I/O threads |
| cw:emulator_sched | ``fifo:5``, ``rr:5``, ``batch``, ``idle`` | the same of QEMU's main thread and what it starts |
| cw:cachetune | ``4M``; ``0-3=4M;4-7=2M code;4-7=1M data`` | a part of the L3 caches, for all vCPUs or some |
| cw:memorytune | ``50``; ``0-3=50;4-7=20`` | the most of the memory bandwidth, in percent |

The last five are libvirt's elements of those names (``vcpusched`` …, ``cachetune``, ``memorytune``); cache and
bandwidth need a CPU with resctrl (Intel RDT, AMD QoS).
"""

from __future__ import annotations

from agent.core.errors import BadRequest
from agent.core.guest import IoThreads, L3Wish
from agent.core.policy import CpuPolicy
from agent.placement.language.specs import Specs, cpu_list, whole_number

MOST_IOTHREADS = 64

NUMBERS = ("numa_nodes", "numa_cpus.0", "numa_mem.0")
"""What gives a number of guest cells, as extra spec or image property."""


def parse_host_cells(specs: Specs, guest_cells: int) -> tuple[int, ...] | None:
    """``cw:host_cells``: one host cell for each guest cell, all different."""
    text = specs.flavor.get("cw:host_cells")
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise BadRequest("cw:host_cells", text, "is no list of cells", allowed="cell numbers such as 0 or 1,0")
    cells = tuple(int(part) for part in parts)
    if len(set(cells)) != len(cells):
        raise BadRequest("cw:host_cells", text, "names a cell twice; guest cells go to different host cells")
    if len(cells) != guest_cells:
        raise BadRequest("cw:host_cells", text, f"names {len(cells)} cells for {guest_cells} guest cells")
    return cells


def parse_l3(specs: Specs) -> L3Wish | None:
    """``cw:l3``: one L3 group for each guest cell, or the same or other groups than another guest."""
    text = specs.flavor.get("cw:l3")
    if not text:
        return None
    if text == "one":
        return L3Wish("one")
    relation, colon, guest = text.partition(":")
    if colon and guest and relation == "same":
        return L3Wish("same", guest)
    if colon and guest and relation == "other":
        return L3Wish("other", guest)
    raise BadRequest("cw:l3", text, "is no such wish", allowed="one, same:GUEST, other:GUEST")


def parse_auto_cells(specs: Specs) -> bool:
    """``cw:numa_nodes=auto``; not together with a number or a list of guest cells."""
    text = specs.flavor.get("cw:numa_nodes")
    if not text:
        return False
    if text != "auto":
        raise BadRequest("cw:numa_nodes", text, "is not known; numbers go into hw:numa_nodes", allowed="auto")
    said = [f"hw:{name}" for name in NUMBERS if specs.flavor.get(f"hw:{name}")]
    said += [f"hw_{name}" for name in NUMBERS if specs.image.get(f"hw_{name}")]
    said += ["cw:host_cells"] if specs.flavor.get("cw:host_cells") else []
    if said:
        raise BadRequest("cw:numa_nodes", text, f"{said[0]} is given too; use one or the other")
    return True


def parse_iothreads(specs: Specs, policy: CpuPolicy) -> IoThreads:
    """``cw:iothreads`` and ``cw:iothread_cpus``."""
    count = whole_number("cw:iothreads", specs.flavor.get("cw:iothreads") or None, least=0, most=MOST_IOTHREADS) or 0
    where = specs.flavor.get("cw:iothread_cpus") or "emulator"
    if where != "emulator" and not count:
        raise BadRequest("cw:iothread_cpus", where, "needs cw:iothreads")
    if where == "dedicated" and policy is CpuPolicy.SHARED:
        raise BadRequest("cw:iothread_cpus", where, "goes with hw:cpu_policy dedicated or mixed only")
    if where == "emulator":
        return IoThreads(count, "emulator")
    if where == "shared":
        return IoThreads(count, "shared")
    if where == "dedicated":
        return IoThreads(count, "dedicated")
    cpus = cpu_list("cw:iothread_cpus", where)
    if not cpus:
        raise BadRequest(
            "cw:iothread_cpus", where, "names no pCPU", allowed="emulator, shared, dedicated, or a CPU list"
        )
    return IoThreads(count, cpus)


def parse_prefer_fast(specs: Specs) -> bool:
    """``cw:prefer_cores=fast``."""
    text = specs.flavor.get("cw:prefer_cores")
    if text and text != "fast":
        raise BadRequest("cw:prefer_cores", text, "is no kind of core", allowed="fast")
    return bool(text)
