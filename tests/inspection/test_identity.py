"""CPU identity: asked only where the kernel left a gap, and once a boot."""

import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.core.topology import CpuIdentity
from agent.inspection.files import Root
from agent.inspection.identity import fill_identity
from tests.hosts import host

NAMELESS = replace(host("tiny"), cpu=CpuIdentity(vendor="ARM"))


def test_a_gap_is_filled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fill_identity(NAMELESS, Root("/"), tmp_path)
    assert found.cpu.vendor == "ARM", "what the kernel says stands"
    assert found.cpu.model or found.cpu.flags
    monkeypatch.setitem(sys.modules, "cpuinfo", None)  # any further question would fail now
    assert fill_identity(NAMELESS, Root("/"), tmp_path) == found
    [cache] = tmp_path.glob("cpu-*.json")
    cache.write_text("no JSON")
    with pytest.raises(ImportError):
        fill_identity(NAMELESS, Root("/"), tmp_path)


def test_a_known_or_saved_host_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cpuinfo", None)
    assert fill_identity(host("tiny"), Root("/"), tmp_path / "cache") == host("tiny")
    assert fill_identity(NAMELESS, Root(str(tmp_path)), tmp_path / "cache") == NAMELESS
    assert not (tmp_path / "cache").exists()
