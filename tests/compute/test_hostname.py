"""A host has one name, the kernel's: a placement for it is not another host's because libvirt has a longer name."""

from collections.abc import Callable

import libvirt as library
import pytest

from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import apply_pin, plan_pin
from agent.compute.prove import verify_host, verify_threads
from tests.compute.placements import FIRST, HOST, SECOND, dedicated


def test_libvirts_name_of_the_host_is_not_asked(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the resolver knows the host by its full name, which virConnectGetHostname then answers."""
    name = foreign("name")
    plan = plan_pin(libvirt, name, dedicated(name, FIRST, SECOND), live=True, config=True, owner="", created_at="")
    apply_pin(libvirt, journal, plan)
    monkeypatch.setattr(library.virConnect, "getHostname", lambda _conn: f"{HOST.hostname}.example.org")
    for verdict in (verify_host(libvirt, names=[name], quick=True), verify_threads(libvirt, name)):
        (guest,) = verdict.guests
        assert (verdict.host, guest.findings) == (HOST.hostname, ())
