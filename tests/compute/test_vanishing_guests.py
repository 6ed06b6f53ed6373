"""A guest that ends, stops or is saved away while verify reads it: never called proven, and the reason is said."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.compute import prove
from agent.compute.driver import Driver
from agent.compute.prove import verify_host
from tests.compute.guests import virsh


def kill(libvirt: Driver, name: str) -> None:
    """QEMU crashes."""
    pid = libvirt.domain(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    until = time.monotonic() + 10
    while libvirt.domain(name).active and time.monotonic() < until:
        time.sleep(0.05)


def save(_libvirt: Driver, name: str) -> None:
    """QEMU migrates the guest, to a file, and ends."""
    virsh("managedsave", name)


def undefine(_libvirt: Driver, name: str) -> None:
    virsh("destroy", name)
    virsh("undefine", name)


@pytest.mark.parametrize(
    ("leave", "moment"),
    [
        (undefine, "read_expectations"),
        (kill, "read_expectations"),
        (kill, "read_observation"),
        (save, "read_observation"),
    ],
)
def test_a_guest_that_goes_while_it_is_read_is_not_proven(
    libvirt: Driver, foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch, leave: Any, moment: str
) -> None:
    """Between the list of domains and their XML; and between the XML and the kernel's files."""
    name = foreign("goes")
    read = getattr(prove, moment)

    def after_it_left(*args: Any, **options: Any) -> Any:
        leave(libvirt, name)
        return read(*args, **options)

    monkeypatch.setattr(prove, moment, after_it_left)
    verdict = verify_host(libvirt, names=[name])
    assert not verdict.proven
    reasons = [*verdict.not_checked, *(why for guest in verdict.guests for why in guest.not_checked)]
    assert reasons
    assert not any(guest.proven for guest in verdict.guests)
    monkeypatch.undo()
    virsh("managedsave-remove", name, check=False)


def test_a_guest_that_is_paused_while_it_is_read_is_judged(
    libvirt: Driver, foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = foreign("pauses")
    virsh("resume", name)
    read = prove.read_observation

    def paused(*args: Any, **options: Any) -> Any:
        virsh("suspend", name)
        return read(*args, **options)

    monkeypatch.setattr(prove, "read_observation", paused)
    (guest,) = verify_host(libvirt, names=[name], quick=True).guests
    assert (guest.ok, guest.proven) == (True, True)
    assert {str(thread.role) for thread in guest.threads} >= {"vcpu", "emulator"}
