"""What the scheduler says is read as documents: those of a newer major version are refused with both named."""

from typing import Any

import pytest

from agent.compute.client import Client
from agent.compute.daemon.link import Link
from agent.core.codec import to_tree
from agent.core.errors import BadInput
from agent.core.wire import Assignment


class Saying(Client):
    """A scheduler that answers every call alike."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://127.0.0.1:1", None)
        self.answer = answer

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None) -> Any:
        return self.answer


ASSIGNMENT = Assignment(instance="i", name="vm", placement=None)


def test_assignments_as_a_list_or_with_their_number() -> None:
    rows = [to_tree(ASSIGNMENT)]
    assert Link(Saying(rows), "h").assignments() == (ASSIGNMENT,)
    assert Link(Saying({"number": 5, "assignments": rows}), "h").assignments() == (ASSIGNMENT,)


def test_an_assignment_of_a_newer_version() -> None:
    rows = [to_tree(ASSIGNMENT), {"schema": "cellwright.assignment/2", "guest": {}}]
    with pytest.raises(BadInput, match=r"cellwright.assignment/2.*cellwright.assignment/1"):
        Link(Saying(rows), "h").assignments()
