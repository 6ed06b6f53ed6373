"""What is done next: one row a situation, one sentence each."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from agent.compute.daemon.reconcile import OwnDomain, Todo, plan
from agent.compute.daemon.state import AgentState, Known
from agent.core.wire import Assignment
from tests.compute.placements import FIRST, SECOND, dedicated

HERE = dedicated("db", FIRST)
THERE = dedicated("db", SECOND)
WANTED = Assignment(instance="i1", name="db", placement=HERE)
UNWANTED = Assignment(instance="i1", name="db", placement=None)
RUNS = OwnDomain(instance="i1", name="db", running=True, placement=HERE)
OFF = replace(RUNS, running=False)
VERIFIED = Known(instance="i1", name="db", domain="db", placement=HERE, verified=True, boot_id="this boot")
UNHEARD = replace(VERIFIED, verified=False)


@dataclass
class Row:
    sentence: str
    assignments: list[Assignment] | None
    domains: list[OwnDomain]
    known: list[Known]
    todo: list[Todo]
    resume: bool = field(default=True)


ROWS = [
    Row("nothing anywhere: nothing to do", [], [], [], []),
    Row("a new assignment is created", [WANTED], [], [], [Todo.CREATE]),
    Row("one that runs and is known to run needs nothing", [WANTED], [RUNS], [VERIFIED], []),
    Row("one that runs without the scheduler knowing is proven first", [WANTED], [RUNS], [], [Todo.PROVE]),
    Row("one whose confirmation was lost is proven again", [WANTED], [RUNS], [UNHEARD], [Todo.PROVE]),
    Row(
        "placed anew where it runs: proven again", [replace(WANTED, unconfirmed=True)], [RUNS], [VERIFIED], [Todo.PROVE]
    ),
    Row("placed anew where it is off: started", [replace(WANTED, unconfirmed=True)], [OFF], [VERIFIED], [Todo.START]),
    Row("placed anew where it was lost: created", [replace(WANTED, unconfirmed=True)], [], [VERIFIED], [Todo.CREATE]),
    Row("killed between define and start: started", [WANTED], [OFF], [], [Todo.START]),
    Row("deleted: removed while it runs", [UNWANTED], [RUNS], [VERIFIED], [Todo.REMOVE]),
    Row("deleted while shut off: removed too", [UNWANTED], [OFF], [VERIFIED], [Todo.REMOVE]),
    Row("deleted before it was ever made: gone", [UNWANTED], [], [], [Todo.GONE]),
    Row("killed between undefine and the word: gone", [UNWANTED], [], [VERIFIED], [Todo.GONE]),
    Row("placed anew: replaced", [replace(WANTED, placement=THERE)], [RUNS], [VERIFIED], [Todo.REPLACE]),
    Row("killed in mid-replace: created", [replace(WANTED, placement=THERE)], [], [VERIFIED], [Todo.CREATE]),
    Row(
        "another name of the domain is no other place",
        [WANTED],
        [replace(RUNS, name="db-i1", placement=replace(HERE, name="db-i1"))],
        [VERIFIED],
        [],
    ),
    Row("metadata was taken away: it runs on", [WANTED], [replace(RUNS, placement=None)], [VERIFIED], []),
    Row(
        "metadata was taken away, and it was placed anew: replaced",
        [replace(WANTED, placement=THERE)],
        [replace(RUNS, placement=None)],
        [VERIFIED],
        [Todo.REPLACE],
    ),
    Row("nothing tells where it was placed: replaced", [WANTED], [replace(RUNS, placement=None)], [], [Todo.REPLACE]),
    Row("somebody undefined it: lost, and never made again", [WANTED], [], [VERIFIED], [Todo.LOST]),
    Row("its owner shut it down: left alone", [WANTED], [OFF], [VERIFIED], [Todo.STOPPED]),
    Row("the host was rebooted: started", [WANTED], [OFF], [replace(VERIFIED, boot_id="before")], [Todo.START]),
    Row(
        "the host was rebooted and resuming is off: left alone",
        [WANTED],
        [OFF],
        [replace(VERIFIED, boot_id="before")],
        [Todo.STOPPED],
        resume=False,
    ),
    Row("the scheduler lists nothing: guests run on", [], [RUNS], [VERIFIED], [Todo.ORPHAN]),
    Row("the scheduler is away: what runs runs on", None, [RUNS], [VERIFIED], []),
    Row("the scheduler is away: unheard guests are proven", None, [RUNS], [UNHEARD], [Todo.PROVE]),
    Row("the scheduler is away after a reboot", None, [OFF], [replace(VERIFIED, boot_id="before")], [Todo.START]),
    Row("the scheduler is away and a domain is lost: that waits", None, [], [VERIFIED], []),
    Row("the scheduler is away and the state file was lost: nothing stops", None, [RUNS], [], []),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_plan(row: Row) -> None:
    state = AgentState(agent="a", known=tuple(row.known))
    actions = plan(row.assignments, row.domains, state, boot_id="this boot", resume=row.resume)
    assert [action.todo for action in actions] == row.todo


def test_what_gives_room_comes_before_what_needs_it() -> None:
    domains = [replace(RUNS, instance="i9")]
    assignments = [WANTED, Assignment(instance="i9", name="x", placement=None)]
    actions = plan(assignments, domains, AgentState(agent="a"), boot_id="b", resume=True)
    assert [action.todo for action in actions] == [Todo.REMOVE, Todo.CREATE]


def test_silence_never_stops_a_guest() -> None:
    """Whatever is remembered, an absent or empty list of assignments removes and replaces nothing."""
    for known in ([], [VERIFIED], [UNHEARD], [replace(VERIFIED, placement=THERE)]):
        for assignments in (None, []):
            for domain in (RUNS, OFF):
                actions = plan(
                    assignments, [domain], AgentState(agent="a", known=tuple(known)), boot_id="x", resume=True
                )
                assert not {Todo.REMOVE, Todo.REPLACE} & {action.todo for action in actions}
