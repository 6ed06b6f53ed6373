"""What to do next: assignments × domains × what is remembered → actions.  Pure; the table of the tests is its meaning.

Guests stop for one reason only: the scheduler says, of an instance it knows, that this host should not have it.  An
empty list, a scheduler that forgot everything, or silence stop nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from agent.compute.daemon.state import AgentState, Known
from agent.core.placement import Placement
from agent.core.wire import Assignment


class Todo(StrEnum):
    """One kind of action."""

    REMOVE = "remove"  # stop and undefine the domain, then say that it is gone
    GONE = "gone"  # say that it is gone
    REPLACE = "replace"  # it was placed anew: remove it, then create it
    CREATE = "create"  # check, define, start, prove
    START = "start"  # it is defined and should run
    PROVE = "prove"  # it runs: prove it, then say so
    LOST = "lost"  # it was verified and its domain is no more: say so
    STOPPED = "stopped"  # it ended by itself, or somebody stopped it: leave it
    ORPHAN = "orphan"  # the scheduler does not know it: leave it


ORDER = (
    Todo.REMOVE,
    Todo.GONE,
    Todo.LOST,
    Todo.STOPPED,
    Todo.ORPHAN,
    Todo.PROVE,
    Todo.START,
    Todo.REPLACE,
    Todo.CREATE,
)
"""What gives room comes first, what needs room last."""

WITHOUT_SCHEDULER = (Todo.START, Todo.PROVE, Todo.STOPPED)
"""What is done from memory alone, while the scheduler is away."""


class OwnDomain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that was made for an instance; ``placement`` is the one in its metadata, None when that tells none."""

    instance: str
    name: str
    running: bool
    placement: Placement | None


class Action(msgspec.Struct, frozen=True):
    """Do this about that instance; ``domain`` is the one it has, "" when it has none."""

    todo: Todo
    instance: str
    domain: str
    assignment: Assignment | None


def plan(
    assignments: Sequence[Assignment] | None,
    domains: Sequence[OwnDomain],
    state: AgentState,
    *,
    boot_id: str | None,
    resume: bool,
) -> tuple[Action, ...]:
    """The actions, in the order in which to take them.  ``assignments`` None: the scheduler is away.

    ``resume``: guests that ran when the host went down are started after it came up.
    """
    away = assignments is None
    wanted = [_remembered(known) for known in state.known] if assignments is None else assignments
    mine = {domain.instance: domain for domain in domains}
    actions = []
    for assignment in wanted:
        domain = mine.pop(assignment.instance, None)
        todo = _decide(assignment, domain, state.of(assignment.instance), boot_id=boot_id, resume=resume)
        if todo is not None and (not away or todo in WITHOUT_SCHEDULER):
            actions.append(Action(todo, assignment.instance, domain.name if domain else "", assignment))
    if not away:
        actions += [Action(Todo.ORPHAN, domain.instance, domain.name, None) for domain in mine.values()]
    return tuple(sorted(actions, key=lambda action: (ORDER.index(action.todo), action.instance)))


def same_place(one: Placement | None, other: Placement | None) -> bool:
    """Whether two placements mean the same; a domain may carry another name than its instance."""
    if one is None or other is None:
        return one is other
    return msgspec.structs.replace(one, name="") == msgspec.structs.replace(other, name="")


def _decide(
    assignment: Assignment, domain: OwnDomain | None, known: Known | None, *, boot_id: str | None, resume: bool
) -> Todo | None:
    if assignment.placement is None:
        return Todo.GONE if domain is None else Todo.REMOVE
    verified = known is not None and known.verified and same_place(known.placement, assignment.placement)
    verified = verified and not assignment.unconfirmed  # the scheduler placed it anew, if only where it was
    if domain is None:
        return Todo.LOST if verified else Todo.CREATE
    placed = domain.placement or (known.placement if known else None)  # somebody may have taken our metadata away
    if not same_place(placed, assignment.placement):
        return Todo.REPLACE
    if domain.running:
        return None if verified else Todo.PROVE
    if not verified:
        return Todo.START
    rebooted = known is not None and boot_id is not None and known.boot_id != boot_id
    return Todo.START if rebooted and resume else Todo.STOPPED


def _remembered(known: Known) -> Assignment:
    return Assignment(instance=known.instance, name=known.name, placement=known.placement, owner=known.owner)
