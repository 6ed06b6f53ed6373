"""The project's own recorded hosts: a snapshot reads as the document that was committed beside it."""

import json
from pathlib import Path

import pytest

from agent.core.codec import decode, encode
from agent.core.topology import HostTopology
from agent.inspection.archive import read_archive
from agent.inspection.document import read_document
from agent.inspection.host import read_host

FOLDER = Path(__file__).parents[1] / "recorded"
SNAPSHOTS = sorted(FOLDER.glob("*.tar.*"))


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.name.partition(".")[0])
def test_a_recorded_host_reads_as_its_document(snapshot: Path, request: pytest.FixtureRequest) -> None:
    document = snapshot.with_name(snapshot.name.partition(".")[0] + ".json")
    read = read_document(read_archive(str(snapshot)))
    if request.config.getoption("--regenerate"):
        document.write_text(json.dumps(read, indent=1) + "\n")
    assert read == json.loads(document.read_text())
    host = read_host(read_archive(str(snapshot)))
    assert decode(encode(host), HostTopology) == host


def test_there_are_recorded_hosts_and_no_stray_documents() -> None:
    names = {path.name.partition(".")[0] for path in SNAPSHOTS}
    assert names
    assert {path.stem for path in FOLDER.glob("*.json")} == names
