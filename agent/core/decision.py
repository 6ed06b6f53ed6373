"""The scheduler's answer (``cellwright.decision/1``): a placement or none, and always how it came to that."""

from __future__ import annotations

import msgspec

from agent.core.placement import Misfit, Placement


class Removed(msgspec.Struct, frozen=True):
    """What one filter did: hosts before it, hosts it removed, and what the request wanted of a host."""

    filter: str
    before: int
    removed: int
    wants: str


class Weighed(msgspec.Struct, frozen=True):
    """One candidate's weight and what each weigher contributed to it."""

    host: str
    weight: float
    parts: dict[str, float] = {}


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """From all hosts to the answer: ``removed`` by each filter in turn, the ``best`` ten weights, ``misfits`` met.

    ``misfits_count`` counts the hosts that were tried.  Where none was, and there is none for want of room, ``misfits``
    are those of the hosts that came nearest.
    """

    hosts: int
    ignored: int = 0
    removed: tuple[Removed, ...] = ()
    best: tuple[Weighed, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    misfits_count: int = 0

    def sentence(self) -> str:
        """Why no host was found, in one line with the numbers."""
        steps = [f"{step.filter} removed {step.removed} of {step.before} (wants {step.wants})" for step in self.removed]
        if self.ignored:
            steps.insert(0, f"{self.ignored} ignored by the request")
        if self.misfits:
            first = self.misfits[0]
            why = first.misfits[0].message if first.misfits else "it does not fit"
            if first.nearest is not None:
                why += f"; it {first.nearest.message}"
            tried = f"{self.misfits_count} tried and no exact fit (the best, {first.host}: {why})"
            steps.append(tried if self.misfits_count else f"the nearest, {first.host}: {why}")
        return f"no host of {self.hosts}: " + ("; ".join(steps) or "there are none")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``placement`` is None when no host was found; ``alternates`` names the next best hosts by weight.

    Alternates passed every filter but were not asked for the exact placement: nobody may ever need them.
    """

    schema: str = "cellwright.decision/1"
    placement: Placement | None
    alternates: tuple[str, ...] = ()
    trace: Trace
