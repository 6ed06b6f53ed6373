"""What many tests need: the shared data beside the checkout, and a real libvirtd.

Hypothesis tries the same examples in each run; ``--hypothesis-profile=explore`` has it try new ones.
"""

import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is no fault of the code
settings.register_profile("explore", **UNTIMED)
settings.register_profile("same", derandomize=True, **UNTIMED)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write golden files anew instead of comparing with them")
    parser.addoption("--guests", type=int, default=20, help="guests of the host that is full of them (default: 20)")
    parser.addoption(
        "--lab-cache",
        default=ROOT / ".cache" / "lab",
        help="the folder that keeps the lab's image and booted machines (tests/lab); checkouts may share one",
    )
    parser.addoption("--race-seed", type=int, default=20, help="what chance does in tests/scheduler/test_race.py")
    parser.addoption(
        "--race-seconds", type=float, default=20.0, help="how long its schedulers and database are killed at least"
    )


GROUPS = ("lab", "host", "machines", "scheduler", "house", "placement", "fuzz", "settings", "core")
"""The tests of one group run one after the other, the longest group first: the lab's life with guests, whose machine
keeps about one pCPU busy; this host, its libvirt, its name and its few pCPUs; the lab's other machines.  Rooms that
neither change the host nor look at what others change in it are free: whichever worker is through takes their files.
"""
MACHINES = ("test_cgroup1", "test_machine", "test_recorded", "test_sources", "test_topology")


def group_of(nodeid: str) -> str:
    room, _, rest = nodeid.removeprefix("tests/").partition("/")
    if room == "lab" and rest.startswith(MACHINES):
        return "machines"
    return room if room in GROUPS else "host"


@pytest.hookimpl(trylast=True)  # after pytest has put together what shares a machine of the lab
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: GROUPS.index(group_of(item.nodeid)))


class LongestFirst(LoadScopeScheduling):
    """``-n 2``: groups and files in the order of their tests."""

    def _split_scope(self, nodeid: str) -> str:
        group = group_of(nodeid)
        return group if group in ("lab", "host", "machines") else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # with -p no:xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    config.option.loadscopereorder = False
    return LongestFirst(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """What a worker reports travels as UTF-8, and a test of odd bytes may log half of a pair."""
    return _encodable((yield))


def _encodable(data: Any) -> Any:
    match data:
        case str():
            return data.encode(errors="backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(value) for key, value in data.items()}
        case list() | tuple():
            return type(data)(_encodable(item) for item in data)
    return data


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text must be that of the file ``golden/name`` beside the test."""
    folder = request.path.parent / "golden"

    def compare(name: str, text: str) -> None:
        if request.config.getoption("--regenerate"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        assert text == (folder / name).read_text(), f"{name} has changed; if that is right: pytest --regenerate"

    return compare


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of saved machines and recorded answers that is never committed; the test skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        warnings.warn(f"{folder} is absent: tests against recorded machines are skipped", stacklevel=1)
        pytest.skip(f"{folder} is absent")
    return folder


def open_kvm() -> None:
    """Give /dev/kvm the group that udev would give it.

    Without udev it is root's alone; then libvirt sees KVM while probing QEMU as root, finds it unusable for its guests,
    throws the probe away, and probes for a minute again at every start of a guest (virQEMUCapsIsValid).
    """
    kvm = Path("/dev/kvm")
    if kvm.exists() and kvm.group() == "root":
        shutil.chown(kvm, group="kvm")
        kvm.chmod(0o660)


@pytest.fixture(scope="session")
def libvirt_uri() -> str:
    """qemu:///system of a running libvirtd; started here, without systemd, when none runs."""
    uri = "qemu:///system"

    def answers() -> bool:
        return subprocess.run(["virsh", "-q", "-c", uri, "version"], capture_output=True, check=False).returncode == 0

    if os.geteuid() == 0:
        open_kvm()
    if not answers():
        assert os.geteuid() == 0, "libvirtd does not answer on qemu:///system, and only root can start it"
        subprocess.run(["/usr/sbin/virtlogd", "-d"], capture_output=True, check=False)  # it may run already
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([sys.executable, ROOT / "tests/reaper.py", "/usr/sbin/libvirtd", "-d"], check=True, **quiet)
        until = time.monotonic() + 120
        while not answers():
            assert time.monotonic() < until, "libvirtd was started and does not answer on qemu:///system"
            time.sleep(0.2)
    return uri
