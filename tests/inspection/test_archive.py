"""Archives that are no snapshots, and what a snapshot leaves out."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.core.errors import BadInput
from agent.inspection.archive import read_archive
from agent.inspection.document import read_document
from agent.inspection.files import Root
from agent.inspection.snapshot import Recorder, redact_file, write_snapshot
from tests.inspection.trees import CPU, two_cells, write


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_a_snapshot_reads_back_as_the_same_document(tmp_path: Path, ending: str) -> None:
    recorder = Recorder(Root(str(write(tmp_path / "host", two_cells()))))
    document = read_document(recorder)
    packed = str(tmp_path / ("snapshot" + ending))
    write_snapshot(recorder, packed)
    assert read_document(read_archive(packed)) == document
    assert document["offline"] == "7", "known only from a folder in which nothing was read"


def test_a_snapshot_of_a_part_of_a_tree_reads_back_too(tmp_path: Path) -> None:
    recorder = Recorder(Root(str(write(tmp_path / "host", {"proc/cpuinfo": "processor: 0\nprocessor: 1\n"}))))
    document = read_document(recorder)
    write_snapshot(recorder, packed := str(tmp_path / "snapshot.tar.gz"))
    assert read_document(read_archive(packed)) == document


def test_a_tar_of_a_saved_tree_is_read_below_its_own_folder(tmp_path: Path) -> None:
    write(tmp_path / "db-7", two_cells())
    (tmp_path / "db-7/sys/devices/system/node/node0/cpu0").symlink_to("../../cpu/cpu0")
    with tarfile.open(tmp_path / "tree.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "db-7", arcname="./db-7")
    archive = read_archive(str(tmp_path / "tree.tar.xz"))
    assert archive.line("sys/devices/system/node/node0/cpu0/topology/core_id") == "0"
    assert read_document(archive)["online"] == "0-6"


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "sys/a", {"x": "1"})
    (tmp_path / "sys/loop").symlink_to("loop")
    with tarfile.open(tmp_path / "loop.tar", "w") as tar:
        tar.add(tmp_path / "sys", arcname="sys")
    with pytest.raises(BadInput, match="circle"):
        read_archive(str(tmp_path / "loop.tar")).read("sys/loop/x")
    with pytest.raises(BadInput, match="loop"):
        Root(str(tmp_path)).read("sys/loop/x")


def member(name: str, **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole tar archive|neither"),
        (b"garbage" * 200, "not a whole tar archive"),
        (gzip.compress(b"x" * 2000)[:50], "not a whole tar archive"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "not a whole tar archive"),
        (b"\xfd7zXZ\0" + b"\xff" * 50, "not a whole tar archive"),
        (member("/etc/passwd"), "leads out"),
        (member("sys/../../x"), "leads out"),
        (member("sys/null", type=tarfile.CHRTYPE), "device"),
        (member("sys/fifo", type=tarfile.FIFOTYPE), "device"),
        (member("sys/huge", size=1 << 40), "allowed: up to"),
        (gzip.compress(member("home/x") + bytes(2048)), "neither a sys nor a proc"),
    ],
    ids=range(11),
)
def test_what_is_no_snapshot_is_refused_in_one_line(
    tmp_path: Path, data: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(BadInput, match=said):
        read_archive(str(tmp_path / "bad.tar"))
    assert main(["topology", "--snapshot", str(tmp_path / "bad.tar")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.inspection.archive.MOST_BYTES", 1 << 20)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for number in range(8):
            info = tarfile.TarInfo(f"sys/{number}")
            info.size = 1 << 18
            tar.addfile(info, io.BytesIO(bytes(1 << 18)))
    (tmp_path / "bomb.tar.gz").write_bytes(packed.getvalue())
    with pytest.raises(BadInput, match="unpacks to more than"):
        read_archive(str(tmp_path / "bomb.tar.gz"))


def test_a_bomb_of_holes_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.inspection.archive.MOST_BYTES", 1 << 20)
    with tarfile.open(tmp_path / "holes.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(8):
            info = tarfile.TarInfo(f"sys/{number}")
            info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 18)}
            tar.addfile(info)
    assert (tmp_path / "holes.tar").stat().st_size < 1 << 16
    with pytest.raises(BadInput, match="unpacks to more than"):
        read_archive(str(tmp_path / "holes.tar"))


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("proc/cpuinfo", b"Serial\t\t: 000000008fbfc895\nmodel name: x\n", b"Serial\t\t: 0\nmodel name: x\n"),
        ("proc/cpuinfo", b"cpu serial number\t: JA30502089\n", b"cpu serial number\t: 0\n"),
        ("proc/cpuinfo", b"processor 0: identification = 0182E8,", b"processor 0: identification = 0,"),
        ("sys/class/net/eth0/address", b"52:54:00:ab:cd:ef\n", b"00:00:00:00:00:00\n"),
        ("proc/cmdline", b"root=UUID=12345678-1234-1234-1234-123456789abc ro", None),
        ("sys/block/sda/device/serial", b"WD-123\n", b"0\n"),
        (f"{CPU}/cpu0/topology/core_cpus", b"00000000,00000003\n", b"00000000,00000003\n"),
    ],
)
def test_what_identifies_a_machine_is_left_out(name: str, content: bytes, kept: bytes | None) -> None:
    expected = kept if kept is not None else b"root=UUID=00000000-0000-0000-0000-000000000000 ro"
    assert redact_file(name, content) == expected


def test_a_snapshot_has_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ends with one of"):
        write_snapshot(Recorder(Root(str(tmp_path))), str(tmp_path / "x.zip"))
