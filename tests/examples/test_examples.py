"""Every example is a request that fits on a host made for such guests, and renders from its template."""

from pathlib import Path

import pytest

from agent.cli.documents import load_request
from agent.core.placement import Placement
from agent.core.usage import Usage
from agent.domain.render import render_domain
from agent.inspection.synthetic import parse_synthetic
from agent.placement import place

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
HOST = "socket:2 core:16 thread:2 memory:128GiB pages:2M=8192,1G=32 dedicated:4-15,20-31,36-47,52-63 shared:0-3,16-19"
TEMPLATES = {"first-light": "tiny", "rt-1": "realtime", "router-1": "dpdk"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_fits_and_renders(path: Path) -> None:
    request = load_request(str(path))
    placed = place(parse_synthetic(HOST), Usage(), request)
    assert isinstance(placed, Placement), placed
    xml = render_domain(placed, template=TEMPLATES.get(request.name, "plain"))
    assert f"<name>{request.name}</name>" in xml


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
