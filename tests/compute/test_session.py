"""A user's own libvirtd, qemu:///session: no root and no cgroups, and a guest is created, proven, pinned and freed.

The user is ``nobody``.  The Python and the packages these tests run with may be root's alone, so he gets the
distribution's of the same version, and copies.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import agent
from tests.compute.guests import name_of

NOBODY = 65534
NAME = name_of("session")
PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    home = Path(tempfile.mkdtemp(prefix="cellwright-session-"))
    site = Path(msgspec.__file__).parents[1]
    copied = home / "lib"
    shutil.copytree(Path(agent.__file__).parent, copied / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(agent.__file__).parents[1] / "templates", copied / "templates")
    for package in ("msgspec", "lxml", "psutil"):
        shutil.copytree(site / package, copied / package)
    for module in site.glob("libvirt*.*"):
        if module.is_file():
            shutil.copy(module, copied)
    environment = {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(copied),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    (home / "run").mkdir(mode=0o700)
    (home / "r.json").write_text(
        json.dumps({"name": NAME, "flavor": {"vcpus": 1, "ram_mb": 64, "extra_specs": {"hw:numa_nodes": "1"}}})
    )
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*as_nobody, *words], env=environment, cwd=home, capture_output=True, text=True, timeout=500, check=False
        )

    yield call
    call("virsh", "-q", "-c", "qemu:///session", "destroy", NAME)
    call("virsh", "-q", "-c", "qemu:///session", "undefine", NAME)
    call("pkill", "-u", str(NOBODY), "-x", "libvirtd|virtlogd")
    shutil.rmtree(home, ignore_errors=True)


def cellwright(run: Run, *words: str) -> subprocess.CompletedProcess[str]:
    return run(PYTHON, "-m", "agent", *words, "--connect", "qemu:///session")


def test_create_verify_unpin_pin_in_a_session(run: Run) -> None:
    made = cellwright(
        run, "create", "--request", "r.json", "--template", "tiny", "--type", "qemu", "--state-dir", "state"
    )
    assert made.returncode == 0, made.stderr
    xml = run("virsh", "-q", "-c", "qemu:///session", "dumpxml", NAME).stdout
    assert "<shares>" not in xml
    assert "<vcpupin vcpu='0'" in xml
    proof = cellwright(run, "verify", NAME, "--format", "json")
    assert json.loads(proof.stdout)["guests"][0]["ok"], proof.stdout + proof.stderr
    again = cellwright(run, "pin", NAME, "--request", "r.json", "--config", "--state-dir", "state")
    assert again.returncode == 0, again.stderr
    freed = cellwright(run, "unpin", NAME, "--state-dir", "state")
    assert freed.returncode == 0, freed.stderr
