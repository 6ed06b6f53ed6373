"""Which files a whole ``cellwright topology --format json`` opens, as strace sees the process: each once."""

import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/recorded"
HOSTS = ("lab-8n", "lab-2n-offline", "lab-2n-pci", "lab-isolated", "kvm-guest-2cpu")
TOPOLOGY = (sys.executable, "-m", "agent", "topology", "--format", "json")


def opened(log: Path, *options: str) -> list[str]:
    """The files and folders that were opened, and those that were not there, in order."""
    trace = ["strace", "-f", "-o", str(log), "-e", "trace=open,openat"]
    subprocess.run([*trace, *TOPOLOGY, *options], cwd=ROOT, check=True, capture_output=True)
    return [line.split('"')[1] for line in log.read_text().splitlines() if '"' in line]


@pytest.mark.parametrize("name", HOSTS)
def test_no_file_of_a_recorded_host_is_opened_twice(name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    with tarfile.open(RECORDED / f"{name}.tar.gz") as archive:
        archive.extractall(tree, filter="data")
    of_host = [path for path in opened(tmp_path / "log", "--sysroot", str(tree)) if path.startswith(f"{tree}/")]
    assert [path for path, times in Counter(of_host).items() if times > 1] == []
    recorded = {str(path) for path in tree.rglob("*") if path.is_file()}
    assert len(recorded & set(of_host)) > 20
    assert {path for path in of_host if "numastat" in path or "/cpuidle" in path or "buddyinfo" in path} == set()


def test_no_file_of_this_host_is_opened_twice(tmp_path: Path) -> None:
    of_kernel = [path for path in opened(tmp_path / "log") if path.startswith(("/sys/", "/proc/"))]
    assert [path for path, times in Counter(of_kernel).items() if times > 1] == []
    assert "/sys/devices/system/cpu/online" in of_kernel
