"""A snapshot taken in the lab reads the same outside; ``--regenerate`` keeps it in tests/recorded as ``lab-NAME``."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.inspection.archive import read_archive
from agent.inspection.document import read_document
from tests.lab.machine import Machine
from tests.lab.test_machine import everywhere, on_two_cells

RECORDED = Path(__file__).parents[1] / "recorded"


def without_what_changes(document: dict[str, Any]) -> dict[str, Any]:
    """Free memory moves between two readings, and the time does."""
    kept = json.loads(json.dumps(document))
    del kept["collected_at"]
    for cell in kept["cells"]:
        del cell["free_kib"]
        for pool in cell["pages"]:
            del pool["free"]
    return kept


def check_snapshot(lab: Machine, name: str, folder: Path, *, keep: bool) -> None:
    """Take a snapshot inside, read it here, compare with the document made inside."""
    inside = f"/tmp/{name}.tar.gz"
    lab.run("cellwright", "snapshot", inside)
    live = lab.run("cellwright", "topology", "--format", "json").json()
    snapshot = folder / f"{name}.tar.gz"
    snapshot.write_bytes(lab.fetch([inside])[inside])
    document = read_document(read_archive(str(snapshot)))
    assert without_what_changes(document) == without_what_changes(live)
    if keep:
        (RECORDED / snapshot.name).write_bytes(snapshot.read_bytes())
        (RECORDED / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    assert (RECORDED / snapshot.name).exists(), "no such recorded host yet: run this test with --regenerate"


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate"))


@everywhere
def test_a_snapshot_reads_outside_as_the_host_does_inside(lab: Machine, tmp_path: Path, keep: bool) -> None:
    check_snapshot(lab, f"lab-{lab.name}", tmp_path, keep=keep)


@on_two_cells
def test_a_snapshot_of_a_host_with_an_offline_cpu_and_huge_pages(lab: Machine, tmp_path: Path, keep: bool) -> None:
    online = "/sys/devices/system/cpu/cpu5/online"
    pool = "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
    lab.shell(f"echo 0 >{online}; echo 8 >{pool}")
    try:
        check_snapshot(lab, "lab-2n-offline", tmp_path, keep=keep)
    finally:
        lab.shell(f"echo 1 >{online}; echo 0 >{pool}")
