"""The Topology document itself, as one line of JSON."""

from __future__ import annotations

from agent.core.codec import encode
from agent.core.topology import HostTopology


def render_json(host: HostTopology) -> str:
    """``cellwright.topology/1`` and a line end."""
    return encode(host).decode() + "\n"
