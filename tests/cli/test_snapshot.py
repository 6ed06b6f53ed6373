"""``cellwright snapshot``: what one host writes, another reads as the same host, and nothing in it is private."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from agent.inspection.archive import read_archive
from tests.inspection.trees import NODE, two_cells, with_knobs, write
from tests.steady import while_memory_stands_still

PRIVATE = {
    "proc/cpuinfo": "processor: 0\nvendor_id: ARM\nSerial: 00c0ffee00c0ffee\nmodel name: Named\nflags: fpu\n",
    "proc/cmdline": "root=UUID=12345678-1234-1234-1234-123456789abc ifname=bond0:52:54:00:ab:cd:ef\n",
    "proc/700/comm": "secret-daemon\n",
}
SECRETS = (b"c0ffee", b"12345678-1234", b"52:54:00:ab", b"secret-daemon")
COUNTERS = "numa_hit 5\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 2\nlocal_node 5\nother_node 0\n"


@pytest.fixture
def tree(tmp_path: Path) -> str:
    counters: dict[str, str | bytes] = {f"{NODE}/node{cell}/numastat": COUNTERS for cell in (0, 1)}
    return str(write(tmp_path / "tree", with_knobs() | two_cells() | counters | PRIVATE))


def run(*words: str, code: int | None = None) -> bytes:
    """The command as a process of its own, in a folder that has nothing to do with the snapshot."""
    done = subprocess.run([sys.executable, "-m", "agent", *words], cwd="/", capture_output=True, check=False)
    assert code is None or done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_every_view_is_the_same_from_the_snapshot(tmp_path: Path, tree: str, ending: str) -> None:
    packed = str(tmp_path / ("host" + ending))
    assert b"files" in run("snapshot", packed, "--sysroot", tree, "--full", code=0)
    views = [
        ["topology", "--format", "json"],
        ["topology", "--format", "json", "--knobs"],
        ["topology", "--format", "numastat"],
        ["topology", "--format", "devices"],
        ["doctor"],
        ["doctor", "--format", "json"],
    ]
    for view in views:
        original = run(*view, "--sysroot", tree)
        assert original
        assert run(*view, "--snapshot", packed) == original, view


def test_without_full_nothing_private_is_in_it_and_the_findings_stay(tmp_path: Path, tree: str) -> None:
    bare, full = str(tmp_path / "bare.tar.gz"), str(tmp_path / "full.tar.gz")
    assert main(["snapshot", bare, "--sysroot", tree]) == 0
    assert main(["snapshot", full, "--sysroot", tree, "--full"]) == 0
    said = {path: b"\n".join(content_of(path)) for path in (bare, full)}
    assert [secret for secret in SECRETS if secret in said[bare]] == []
    assert [secret for secret in SECRETS if secret not in said[full]] == []
    assert run("doctor", "--snapshot", bare) == run("doctor", "--snapshot", full)
    assert read_archive(bare).line("proc/712/comm") == "irqbalance", "which doctor asks for"


def test_this_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = str(tmp_path / "live.tar.zst")

    def look() -> tuple[dict[str, Any], dict[str, Any]]:
        assert main(["snapshot", packed]) == 0
        capsys.readouterr()
        assert main(["topology", "--snapshot", packed, "--format", "json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert main(["topology", "--format", "json"]) == 0
        return document, json.loads(capsys.readouterr().out)

    document, now = while_memory_stands_still(look)
    assert document["hostname"] == os.uname().nodename
    assert document["collected_at"]
    for changing in ("collected_at",):
        now[changing] = document[changing]
    for mine, other in zip(now["cells"], document["cells"], strict=True):
        mine["free_kib"] = other["free_kib"]
        mine["pages"] = other["pages"]
    assert now == document
    assert main(["doctor", "--snapshot", packed]) in (0, 4)
    packed_bytes = b"\n".join(read_archive(packed).files.values())
    for address in Path("/sys/class/net").glob("*/address"):
        mac = address.read_bytes().strip()
        assert not mac.strip(b"0:") or mac not in packed_bytes


def content_of(path: str) -> list[bytes]:
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            found.append(member.name.encode() + (content.read() if content else b""))
    return found
