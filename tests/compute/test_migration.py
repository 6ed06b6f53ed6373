"""A guest that migrates for real, to a second libvirtd, while it is read.

The second one is a user's own, which is told that it is on another machine.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from agent.compute.driver import Driver
from agent.compute.prove import verify_host
from agent.core.observation import Role
from agent.core.placement import CpuTune
from agent.domain.render import render_domain
from tests.compute.changing import Changing
from tests.compute.guests import pid_of, threads_of, virsh
from tests.compute.placements import FIRST, SECOND, dedicated

NUMBERS = count()
USER = "games"
"""Somebody of every Debian machine who has no processes."""


@pytest.fixture(scope="module")
def elsewhere(libvirt_uri: str) -> Iterator[str]:
    """The other libvirtd's URI."""
    home = Path(tempfile.mkdtemp(prefix="cellwright-elsewhere-"))
    settings = home / ".config/libvirt/libvirtd.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'host_uuid = "{uuid4()}"\n')
    (home / "run").mkdir(mode=0o700)
    for path in (home, *home.rglob("*")):
        shutil.chown(path, USER, USER)
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "PATH": os.environ["PATH"]}
    socket = home / "run/libvirt/libvirt-sock"
    uri = f"qemu+unix:///session?socket={socket}"
    daemon = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "/usr/sbin/libvirtd"]
    with subprocess.Popen(daemon, env=environment, cwd=home) as process:
        while subprocess.run(["virsh", "-q", "-c", uri, "version"], capture_output=True, check=False).returncode:
            assert process.poll() is None
            time.sleep(0.05)
        try:
            yield uri
        finally:
            for name in subprocess.run(
                ["virsh", "-q", "-c", uri, "list", "--name"], capture_output=True, text=True, check=False
            ).stdout.split():
                subprocess.run(["virsh", "-q", "-c", uri, "destroy", name], check=False)
            process.terminate()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def guest(libvirt: Driver, names: Callable[[str], str]) -> str:
    """One of ours, running; without a weight, which no user's own libvirtd can give."""
    name = names(f"migrates-{next(NUMBERS)}")
    placement = msgspec.structs.replace(dedicated(name, FIRST, SECOND), tune=CpuTune(shares=0))
    libvirt.define(render_domain(placement, template="tiny", virt_type="qemu"), name=name)
    libvirt.start(name)
    return name


def migrate(name: str, uri: str, *options: str) -> None:
    virsh("migrate", "--live", name, uri, "--migrateuri", "tcp://127.0.0.1", *options)


@pytest.mark.parametrize("moment", ["xml", "processes"])
def test_a_guest_that_migrates_away_while_it_is_read_is_not_proven(guest: str, elsewhere: str, moment: str) -> None:
    with Changing(moment, lambda: migrate(guest, elsewhere)) as changing:
        verdict = verify_host(changing, names=[guest])
    assert not verdict.proven
    (one,) = verdict.guests
    assert any("is gone" in gap for gap in one.not_checked)
    with Driver(elsewhere) as there:
        assert there.domain(guest).active


def test_while_it_migrates_its_migration_threads_are_judged_too(libvirt: Driver, guest: str, elsewhere: str) -> None:
    """Slowly, and it stands still while it is read."""
    pid = pid_of(libvirt, guest)
    words = ["migrate", "--live", guest, elsewhere, "--migrateuri", "tcp://127.0.0.1", "--bandwidth", "1"]
    with subprocess.Popen(["virsh", "-q", "-c", libvirt.uri, *words], stderr=subprocess.PIPE) as migration:
        try:
            while "live_migration" not in {thread.name for thread in threads_of(pid)}:
                assert migration.poll() is None
                time.sleep(0.01)
            os.kill(pid, signal.SIGSTOP)
            (one,) = verify_host(libvirt, names=[guest], quick=True).guests
        finally:
            os.kill(pid, signal.SIGCONT)
            virsh("domjobabort", guest, check=False)
    assert Role.MIGRATION in {thread.role for thread in one.threads}
    assert one.proven
