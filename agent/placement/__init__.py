"""One host: which cells, which pCPUs, which pages.  Pure arithmetic.

>>> answer = place(host, usage, request)
>>> answer.fits
True

``place`` is the whole of it for a caller with one question.  A caller with many keeps the compiled parts:
``layout_of(host)`` once a host, ``measure_room(layout, usage, limits)`` whenever usage changes,
``parse_guest(request)`` once a request, and ``engine.fit(room, guest)`` for each pair.
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
