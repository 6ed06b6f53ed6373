"""One host: which cells, which pCPUs, which pages.  Pure arithmetic.

>>> answer = place(host, usage, request)
>>> answer.fits
True

``place`` is the whole of it for a caller with one question.  A caller with many keeps the compiled parts:
``layout_of(host)`` once a host, ``measure_room(layout, usage, limits)`` whenever usage changes,
``parse_guest(request)`` once a request, and ``engine.fit(room, guest)`` for each pair.

Where the Nova of 2018 and today's differ, each point was decided on its merits:

| question | Nova 2018 | Nova 34 | here |
| --- | --- | --- | --- |
| topology of 16 pinned vCPUs | siblings show: 8 × 1 × 2 | 16 × 1 × 1 | as in 2018, guests can use it; or today's |
| | | | with ``cw:guest_topology=flat`` or ``hw:cpu_sockets`` |
| ``isolate``, legacy vcpu_pin_set | whole core, sibling idle | the same | the same |
| ``isolate``, split sets with SMT | (no split sets) | refused | a flavor's: whole cores, siblings idle; an image's: |
| | | | refused, idle pCPUs are the operator's to give away |
| ``isolate``, a core with fewer threads | refused on that core | the same | taken: nobody else can run there |
| emulator threads | on the union of the pins | the same; real-time vCPUs left out | as today |
| emulator ``isolate`` with ``isolate`` | maybe a foreign sibling | same; claims fail | a whole core if any is left; |
| | | | only free pCPUs are booked, so the claim holds |
| ``prefer`` with too few whole cores | breaks as many cores as vCPUs | the same | whole cores first, then broken ones |
| ``avoid``, ``separate`` | HTTP 500 | refused | refused, naming the successors |
| binding of memory | strict | strict | strict; hw:numa_mempolicy has three more |
| several guest cells | walk over permutations | the same, with a wrong cache | exact matching and exact choice |
| hw:numa_cpus.N without hw:numa_nodes | ignored in silence | the same | one guest cell, or an error |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.cpuset import CpuSet
    from agent.core.placement import Misfit, Placement
    from agent.core.request import Request
    from agent.core.topology import HostTopology
    from agent.core.usage import Limits, Usage


def place(
    host: HostTopology,
    usage: Usage,
    request: Request,
    limits: Limits | None = None,
    *,
    guests: Mapping[str, CpuSet] | None = None,
) -> Placement | Misfit:
    """Decide where a request goes on one host, given what guests hold there; or say why it does not fit.

    ``limits`` bind overcommit and hold back what the host keeps; None binds nothing.  ``guests`` names the pCPUs of the
    host's other guests, for ``cw:l3``.  Raises BadRequest for a request that no host could serve.
    """
    from agent.placement.engine import fit
    from agent.placement.language import parse_guest
    from agent.placement.layout import layout_of
    from agent.placement.room import measure_room

    guest = parse_guest(request)
    return fit(measure_room(layout_of(host), usage, limits), guest, guests=guests or {})
