"""The sockets × cores × threads that a guest sees.

Nova today gives N sockets of one core, whatever the pins; the field's Nova of 2018 showed a pinned guest its siblings
as threads.  A guest scheduler that knows which vCPUs share a core uses them better, so we show them, unless the
request prefers a topology itself or says ``cw:guest_topology=flat``.
"""

from __future__ import annotations

from agent.core.guest import TopologyWish
from agent.core.placement import CpuTopology

NOT_SAID = CpuTopology(0, 0, 0)


def possible_topologies(vcpus: int, highest: CpuTopology) -> list[CpuTopology]:
    """Every way to build ``vcpus`` within the maxima (0: none): most sockets first, then cores, then threads."""
    found = []
    for threads in _divisors(vcpus, highest.threads):
        for cores in _divisors(vcpus // threads, highest.cores):
            sockets = vcpus // threads // cores
            if not highest.sockets or sockets <= highest.sockets:
                found.append(CpuTopology(sockets, cores, threads))
    return sorted(found, key=lambda t: (t.sockets * t.cores, t.sockets, t.threads), reverse=True)


def choose_topology(vcpus: int, wish: TopologyWish, *, sibling_threads: int) -> CpuTopology:
    """The best topology: with as many threads as pinned siblings where they shall show, then most preferences met.

    Preferences that cannot be met are dropped, as in Nova; maxima always hold.
    """
    if wish.preferred == NOT_SAID == wish.highest:
        threads = sibling_threads if wish.mirror else 1
        return CpuTopology(vcpus // threads, 1, threads)
    possible = possible_topologies(vcpus, wish.highest)
    if wish.mirror:
        possible = [topology for topology in possible if topology.threads == sibling_threads] or possible

    def met(topology: CpuTopology) -> int:
        return (
            (topology.sockets == wish.preferred.sockets)
            + (topology.cores == wish.preferred.cores)
            + (topology.threads == wish.preferred.threads)
        )

    return max(possible, key=met)


def _divisors(number: int, most: int) -> list[int]:
    top = min(number, most) if most else number
    return [divisor for divisor in range(1, top + 1) if number % divisor == 0]
