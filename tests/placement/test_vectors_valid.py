"""Every placement on the 3,000 recorded hosts keeps every rule of the validator."""

import gzip
import json
from pathlib import Path

from agent.core.codec import convert
from agent.core.errors import BadRequest
from agent.core.placement import Placement
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement import place
from tests.placement.validator import broken_rules


def test_every_placement_on_recorded_hosts_is_right(shared_data: Path) -> None:
    wrong, placed = [], 0
    with gzip.open(shared_data / "nova" / "vectors.jsonl.gz", "rt") as lines:
        vectors = [json.loads(line) for line in lines]
    for vector in vectors:
        host, usage = convert(vector["topology"], HostTopology), convert(vector["usage"], Usage)
        request, limits = convert(vector["request"], Request), convert(vector["limits"], Limits)
        try:
            answer = place(host, usage, request, limits)
        except BadRequest:
            continue
        if isinstance(answer, Placement):
            placed += 1
            wrong += [(vector["id"], broken) for broken in broken_rules(host, usage, request, limits, answer)]
    assert placed > 500
    assert not wrong, wrong[:10]
