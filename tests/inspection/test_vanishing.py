"""CPUs and cells that are unplugged while the host is read: the read is tried again, then what is gone is named."""

from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.inspection.document import read_document
from agent.inspection.files import LONGEST, Root
from tests.inspection.trees import CPU, NODE, two_cells, write


class Unplugged(Root):
    """A host from which ``gone`` is taken right after ``seen`` was read; ``settles`` when the lists follow."""

    def __init__(self, folder: Path, *, seen: str, gone: str, settles: dict[str, bytes] | None = None) -> None:
        super().__init__(str(folder))
        self.seen, self.gone, self.settles = seen, gone, settles or {}
        self.reads = 0

    def read(self, path: str, limit: int = LONGEST) -> bytes | None:
        if path == self.seen:
            self.reads += 1
        if self.reads and path.startswith(self.gone):
            return None
        if self.reads > 1 and path in self.settles:
            return self.settles[path]
        return super().read(path, limit)

    def names(self, path: str) -> list[str] | None:
        if self.reads and path.startswith(self.gone):
            return None
        return super().names(path)


def test_a_pcpu_that_goes_offline_meanwhile_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, two_cells())
    root = Unplugged(tmp_path, seen=f"{CPU}/online", gone=f"{CPU}/cpu3/", settles={f"{CPU}/online": b"0-2,4-6\n"})
    document = read_document(root)
    assert root.reads == 2
    assert (document["online"], document["offline"]) == ("0-2,4-6", "3,7")
    assert not any("pCPUs 3" in phrase for phrase in document["unknown"])


def test_a_pcpu_that_stays_half_gone_is_named(tmp_path: Path) -> None:
    write(tmp_path, two_cells())
    document = read_document(Unplugged(tmp_path, seen=f"{CPU}/online", gone=f"{CPU}/cpu3/"))
    assert "cores of pCPUs 3 (no topology folder)" in document["unknown"]
    cores = [core["cpus"] for cell in document["cells"] for core in cell["cores"]]
    assert cores == ["0,4", "1,5", "2,6"]


def test_a_cell_that_goes_meanwhile_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, two_cells())
    settled = {f"{NODE}/online": b"0\n", f"{NODE}/node0/distance": b"10\n"}
    root = Unplugged(tmp_path, seen=f"{NODE}/online", gone=f"{NODE}/node1", settles=settled)
    document = read_document(root)
    assert [cell["id"] for cell in document["cells"]] == [0]
    assert "cells of pCPUs 2-3,6" in document["unknown"]


def test_a_cell_that_stays_half_gone_is_one_clear_error(tmp_path: Path) -> None:
    write(tmp_path, two_cells())
    with pytest.raises(BadInput, match=r"node1.*gone when it was read \(twice\)"):
        read_document(Unplugged(tmp_path, seen=f"{NODE}/online", gone=f"{NODE}/node1"))


def test_devices_that_go_meanwhile_are_left_out(tmp_path: Path) -> None:
    devices = "sys/bus/pci/devices"
    modalias = "pci:v00008086d0000159Bsv00008086sd00000001bc02sc00i00\n"
    cards = ("0000:3b:00.0", "0000:3b:00.1")
    write(tmp_path, two_cells() | {f"{devices}/{card}/modalias": modalias for card in cards})
    document = read_document(Unplugged(tmp_path, seen=f"{CPU}/online", gone=f"{devices}/{cards[1]}"))
    assert [device["pci"] for device in document["unplaced_devices"]] == [cards[0]]
    assert CpuSet.parse(document["online"]) == CpuSet.parse("0-6")
