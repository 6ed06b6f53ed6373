"""Guests that change while they are read, and guests that would come back differently: said, and never called good."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.compute.driver import Driver
from agent.compute.prove import NotRunning, verify_host
from agent.compute.start import check_started
from agent.core.errors import CellwrightError
from agent.domain.render import render_domain
from tests.compute.changing import Changing
from tests.compute.guests import remove, virsh
from tests.compute.placements import FIRST, SECOND, dedicated


@pytest.fixture
def guest(libvirt: Driver, names: Callable[[str], str]) -> str:
    """One of ours, running."""
    name = names("changing")
    text = render_domain(dedicated(name, FIRST, SECOND), template="tiny", virt_type="qemu")
    libvirt.define(text, name=name)
    libvirt.start(name)
    return name


def stop(name: str) -> None:
    virsh("destroy", name)


def save(name: str) -> None:
    """QEMU migrates the guest to a file, and ends."""
    virsh("managedsave", name)


def crash(name: str) -> None:
    """QEMU ends by itself, and libvirt has seen it."""
    os.kill(int(Path(f"/run/libvirt/qemu/{name}.pid").read_text()), signal.SIGSEGV)
    until = time.monotonic() + 120
    while virsh("domstate", name).strip() == "running":
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("moment", "leave", "said"),
    [
        ("xml", remove, "it ended while it was read"),
        ("config", remove, "it ended while it was read"),
        ("xml", stop, "is gone"),  # it stays defined
        ("processes", stop, "is gone"),
        ("processes", crash, "is gone"),
        ("processes", save, "is gone"),
    ],
)
def test_a_guest_that_goes_away_while_it_is_read_is_never_proven(
    guest: str, moment: str, leave: Callable[[str], Any], said: str
) -> None:
    with Changing(moment, lambda: leave(guest)) as changing:
        verdict = verify_host(changing, names=[guest])
    assert not verdict.proven
    gaps = [*verdict.not_checked, *(gap for one in verdict.guests for gap in one.not_checked)]
    assert any(said in gap for gap in gaps), gaps
    assert not any(one.proven for one in verdict.guests)


@pytest.mark.parametrize("moment", ["xml", "processes"])
def test_a_guest_that_pauses_or_resumes_while_it_is_read_is_read_all_the_same(guest: str, moment: str) -> None:
    for event in ("suspend", "resume"):
        with Changing(moment, lambda event=event: virsh(event, guest)) as changing:  # type: ignore[misc]
            assert verify_host(changing, names=[guest], quick=True).proven


def test_a_guest_that_ends_before_it_is_checked_is_one_line(libvirt: Driver, guest: str) -> None:
    with (
        Changing("xml", lambda: remove(guest)) as changing,
        pytest.raises(CellwrightError, match="could not be checked"),
    ):
        check_started(changing, guest)
    with pytest.raises(CellwrightError, match=f"no domain '{guest}'"):
        verify_host(libvirt, names=[guest])


def test_a_stopped_guest_is_named(libvirt: Driver, guest: str) -> None:
    virsh("destroy", guest)
    with pytest.raises(NotRunning, match=f"domain {guest} is not running"):
        verify_host(libvirt, names=[guest])


def test_metadata_that_somebody_damaged_is_told_and_stops_nobody_else(libvirt: Driver, guest: str) -> None:
    libvirt.set_metadata(
        guest, "urn:cellwright:domain:1", "<guest><placement>{</placement></guest>", live=True, config=False
    )
    verdict = verify_host(libvirt, quick=True)
    (said,) = [gap for gap in verdict.not_checked if gap.startswith(guest)]
    assert "placement in the metadata" in said
    assert not verdict.proven


def test_a_next_start_that_would_be_elsewhere_is_a_notice(libvirt: Driver, guest: str) -> None:
    def notices() -> list[str]:
        (one,) = verify_host(libvirt, names=[guest]).guests
        return [notice.message for notice in one.notices if notice.code == "next-start-differs"]

    assert notices() == []
    virsh("vcpupin", guest, "0", str(SECOND), "--config")
    assert notices() == [f"its next start would be different: vCPU 0: {SECOND}, placed on {FIRST}"]
    virsh("emulatorpin", guest, str(FIRST), "--config")
    (both,) = notices()
    assert f"emulator: {FIRST}, placed on {FIRST}-{SECOND}" in both
    bare = render_domain(dedicated(guest, FIRST, SECOND), template="tiny", virt_type="qemu")
    start, end = bare.index("<cputune>"), bare.index("</cputune>")
    uuid = f"<uuid>{libvirt.domain(guest).uuid}</uuid>"
    without = bare[:start] + bare[end + len("</cputune>") :].replace("<os>", uuid + "<os>", 1)
    libvirt.define(without, name=guest)
    (unpinned,) = notices()
    assert f"vCPU 0: anywhere, placed on {FIRST}; vCPU 1: anywhere, placed on {SECOND}" in unpinned
