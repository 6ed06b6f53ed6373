"""3,000 random hosts, usages and requests with the recorded answers of OpenStack Nova 34."""

import gzip
import json
from collections import Counter
from pathlib import Path

from agent.core.codec import convert
from agent.core.errors import BadRequest
from agent.core.request import Request
from agent.core.topology import HostTopology
from agent.core.usage import Limits, Usage
from agent.placement import place


def answer(vector: dict) -> str:
    try:
        placed = place(
            convert(vector["topology"], HostTopology),
            convert(vector["usage"], Usage),
            convert(vector["request"], Request),
            convert(vector["limits"], Limits),
        )
    except BadRequest:
        return "bad request"
    return "fits" if placed.fits else "misfit"


def test_we_fit_what_nova_fits_and_refuse_what_it_refuses(shared_data: Path) -> None:
    counted: Counter[str] = Counter()
    wrong = []
    with gzip.open(shared_data / "nova" / "vectors.jsonl.gz") as lines:
        for line in lines:
            vector = json.loads(line)
            nova = vector["nova"]
            wanted = "bad request" if nova["error"] else "fits" if nova["fits"] else "misfit"
            counted[wanted] += 1
            if answer(vector) != wanted:
                wrong.append((vector["id"], wanted))
    assert wrong == []
    assert min(counted.values()) > 300, "the vectors no longer exercise all three answers"
