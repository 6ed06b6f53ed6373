"""What the agent says to the scheduler and hears from it, as documents."""

from __future__ import annotations

from typing import Any

from agent.compute.client import Client, path_of
from agent.core.codec import convert, encode
from agent.core.errors import BadInput
from agent.core.wire import Assignment, Confirmation, HostReport, ReportAnswer

SHORT_S = 10.0
"""How long a report, a pull or a confirmation may take."""


class Link:
    """One host's end of the line.  Calls raise Unreachable when nobody answers, and what the scheduler refuses."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    def report(self, report: HostReport) -> ReportAnswer:
        """Send a report; the answer may want the topology whole."""
        return convert(self._call("POST", "report", encode(report)), ReportAnswer, source="report answer")

    def assignments(self) -> tuple[Assignment, ...]:
        """Everything that this host should have, and what it should no longer have, as of now."""
        rows = convert(_list_of(self._call("GET", "assignments")), tuple[Any, ...], source="assignments")
        return tuple(convert(row, Assignment, source="assignments") for row in rows)

    def wait(self, after: int, wait_s: float) -> int:
        """The number of the host's news, once it is another than ``after`` or the time is up."""
        tree = self._call("GET", f"assignments?after={after}&wait_s={wait_s:g}", timeout_s=wait_s + SHORT_S)
        number = tree.get("number") if isinstance(tree, dict) else None
        if not isinstance(number, int):
            raise BadInput(f"assignments: number is {number!r}; expected a whole number")
        return number

    def confirm(self, confirmation: Confirmation) -> None:
        """Say what became of an assignment."""
        self._call("POST", "confirmations", encode(confirmation))

    def _call(self, method: str, what: str, body: bytes | None = None, *, timeout_s: float = SHORT_S) -> Any:
        return self._client.call(method, f"{path_of('agents', self._host)}/{what}", body, timeout_s=timeout_s)


def _list_of(tree: Any) -> Any:
    return tree.get("assignments") if isinstance(tree, dict) else tree
