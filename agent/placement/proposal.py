"""A question about placing one guest, and a change that might answer it with yes."""

from __future__ import annotations

import msgspec

from agent.core.placement import Misfit, Placement
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement.engine import fit
from agent.placement.language import parse_guest
from agent.placement.layout import layout_of
from agent.placement.room import measure_room


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What ``place`` is asked; ``guests`` are the known placements of the guests that hold ``usage``."""

    host: HostTopology
    usage: Usage
    request: Request
    limits: Limits | None
    guests: tuple[Placement, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """``change`` for programs, a phrase for people, and the question after it.

    ``KEY=VALUE`` sets an extra spec or a size of the flavor, ``no KEY`` takes an extra spec or image property away
    (``no hw:numa_cpus.*``: all of them); the host's operator frees pCPUs, makes pages or moves a guest.
    """

    change: str
    phrase: str
    question: Question


def ask(question: Question) -> Placement | Misfit:
    """What ``place`` answers; BadRequest for a request that no host could serve."""
    guest = parse_guest(question.request)
    others = {other.name: other.occupied() for other in question.guests} if guest.l3 is not None else {}
    return fit(measure_room(layout_of(question.host), question.usage, question.limits), guest, guests=others)
