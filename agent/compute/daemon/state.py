"""What the agent remembers over restarts: its id, and the instances it was given.  One small file.

Written to a temporary name, fsynced and renamed: a kill or a power cut leaves the old text or the new one.  Losing it
costs little: domains say themselves whose they are.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.compute.durable import write_durably
from agent.core.codec import decode, encode
from agent.core.errors import BadInput, CellwrightError
from agent.core.placement import Placement


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of this host: what it was given, and whether the scheduler heard that it runs where it was placed.

    ``domain`` is its domain's name; ``boot_id`` the boot of the host on which it last ran.
    """

    instance: str
    name: str
    domain: str
    placement: Placement
    owner: str = ""
    verified: bool = False
    boot_id: str | None = None


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file; ``known`` in the order of instance ids."""

    schema: str = "cellwright.agent-state/1"
    agent: str
    known: tuple[Known, ...] = ()

    def of(self, instance: str) -> Known | None:
        """What is remembered of one instance."""
        return next((one for one in self.known if one.instance == instance), None)

    def put(self, one: Known) -> AgentState:
        """With this instance, in place of what was remembered of it."""
        known = (*(other for other in self.known if other.instance != one.instance), one)
        return msgspec.structs.replace(self, known=tuple(sorted(known, key=lambda other: other.instance)))

    def drop(self, instance: str) -> AgentState:
        """Without this instance."""
        return msgspec.structs.replace(self, known=tuple(one for one in self.known if one.instance != instance))


def read_agent_state(path: Path, *, new_id: str) -> tuple[AgentState, str]:
    """What is remembered, and what is wrong with the file, "" when nothing is; a damaged one is begun anew."""
    try:
        return decode(path.read_bytes(), AgentState, source=str(path)), ""
    except FileNotFoundError:
        return AgentState(agent=new_id), ""
    except OSError as why:
        return AgentState(agent=new_id), f"{path}: {why.strerror}"
    except BadInput as why:
        return AgentState(agent=new_id), str(why)


def write_agent_state(path: Path, state: AgentState) -> None:
    """Put the state on disk, whole or not at all; CellwrightError says why not (disk full, read-only …)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as why:
        raise CellwrightError(f"state file {path}: {why.strerror}") from why
    write_durably(path, encode(state) + b"\n", what="state file")
