"""The packaged units: systemd finds nothing wrong with them, and what they leave open is little and explained."""

import re
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists; where it is installed is the packager's affair."""
    for unit in UNITS.glob("cellwright-*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("ExecStart=cellwright ", "ExecStart=/bin/true "))
    return tmp_path


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("cellwright-*")))
def test_verify_has_nothing_to_say(units: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units / name], capture_output=True, text=True, check=False
    )
    about_us = [line for line in (done.stdout + done.stderr).splitlines() if "cellwright" in line]
    assert (done.returncode, about_us) == (0, []), done.stderr


def exposure(unit: Path) -> tuple[float, list[str]]:
    """The overall level, and the settings that still count."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    level = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert level, said
    return float(level[1]), [line.split()[1] for line in said.splitlines() if line.startswith("✗")]


@pytest.mark.parametrize(("name", "most"), [("agent", 3.5), ("scheduler", 2.0), ("audit", 3.5)])
def test_exposure(name: str, most: float) -> None:
    assert exposure(UNITS / f"cellwright-{name}.service")[0] <= most


def test_the_agent_that_may_write_host_files_is_hardly_more_exposed(tmp_path: Path) -> None:
    """The drop-in for irq_steering and cpu_power_management, read together with the unit."""
    unit = tmp_path / "cellwright-agent.service"
    unit.write_text((UNITS / "cellwright-agent.service").read_text() + (UNITS / "agent-host.conf").read_text())
    assert "ProtectKernelTunables" in unit.read_text().rpartition("[Service]")[2]
    assert exposure(unit)[0] <= 3.5


@pytest.mark.parametrize("name", ["agent", "scheduler"])
def test_every_point_that_still_counts_is_explained(name: str) -> None:
    unit = UNITS / f"cellwright-{name}.service"
    comments = " ".join(line for line in unit.read_text().splitlines() if line.startswith("#"))
    keys = [point.split("/")[0] if "~" not in point else point.partition("=")[2] for point in exposure(unit)[1]]
    assert [key for key in keys if key not in comments and key.lstrip("~") not in comments] == []


def test_sysusers_and_tmpfiles_are_read(tmp_path: Path) -> None:
    for tool, file in (("sysusers", "cellwright.sysusers.conf"), ("tmpfiles", "cellwright.tmpfiles.conf")):
        words = ["--dry-run"] if tool == "sysusers" else ["--create"]
        command = [f"systemd-{tool}", *words, f"--root={tmp_path}", str(UNITS / file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/cellwright/conf.d").is_dir()
    assert (tmp_path / "var/lib/cellwright").stat().st_mode & 0o777 == 0o700
