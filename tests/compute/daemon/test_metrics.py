"""The agent's metrics: what Prometheus' own parser reads out of them, and the file for node_exporter."""

from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.compute.daemon.metrics import render_metrics, write_textfile
from agent.compute.daemon.view import HostView, digest_of
from agent.compute.repair import Result
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.facts import HostFacts
from agent.core.usage import CellUsage, PageUse, Usage
from tests.hosts import host

HELD = Usage(cells=(CellUsage(id=0, pinned=CpuSet([0, 36, 1]), pages=(PageUse(2048, 512),)),))


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Name → labels → value."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def text() -> str:
    topology = host("osdev-01")
    view = HostView(
        topology=topology,
        digest=digest_of(topology),
        facts=HostFacts(),
        foreign=Usage(),
        foreign_vcpus=0,
        foreign_ram_mb=0,
        reserved_ram_mb=0,
        running=("i1",),
    )
    drifted = Counter({("mask-differs", 'a "quoted" cause\\'): 2})
    return render_metrics(
        view,
        HELD,
        quick=None,
        full=None,
        drifted=drifted,
        repairs={Result.REPAIRED: 1},
        upkeep={"asleep_pcpus": 2, "steered_irqs": 3, "stuck_irqs": 1},
        report_age_s=3.5,
    )


def test_prometheus_reads_them(text: str) -> None:
    found = read(text)
    cells = {cell.id: len(cell.cpus & host("osdev-01").dedicated()) for cell in host("osdev-01").cells}
    assert found["cellwright_free_pcpus"] == {
        (("cell", str(cell)),): count - (3 if cell == 0 else 0) for cell, count in cells.items()
    }
    assert found["cellwright_owned_pcpus"][("cell", "0"),] == 3
    assert found["cellwright_broken_cores"][("cell", "0"),] == 1  # pCPU 1 is owned, its sibling is not
    assert found["cellwright_drift_total"][("cause", 'a "quoted" cause\\'), ("code", "mask-differs")] == 2
    assert found["cellwright_repairs_total"][("result", "repaired"),] == 1
    assert found["cellwright_report_age_seconds"][()] == 3.5
    upkeep = [found[f"cellwright_{name}"][()] for name in ("asleep_pcpus", "steered_irqs", "stuck_irqs")]
    assert upkeep == [2, 3, 1]


def test_large_numbers_keep_every_digit(text: str) -> None:
    """A page count or a counter that is rounded stands still for hours and then jumps."""
    pools = {(cell.id, pool.size_kib): pool.free for cell in host("osdev-01").cells for pool in cell.pages}
    assert max(free or 0 for free in pools.values()) > 10_000_000
    found = read(text)["cellwright_free_pages"]
    assert {(int(dict(key)["cell"]), int(dict(key)["page_kib"])): value for key, value in found.items()} == {
        key: free for key, free in pools.items() if free is not None
    }


def test_every_name_has_help_and_type(text: str) -> None:
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names == {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert all(name.startswith("cellwright_") for name in names)


def test_the_textfile_is_whole_and_readable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cellwright.prom"
    write_textfile(path, text)
    assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.iterdir()] == ["cellwright.prom"]
    with pytest.raises(CellwrightError, match="No such file or directory"):
        write_textfile(tmp_path / "nowhere" / "x.prom", text)
