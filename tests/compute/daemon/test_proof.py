"""Continuous proof: what makes a guest be judged again, and that only such a guest is read."""

from collections.abc import Callable, Collection
from typing import Any

import pytest

from agent.compute.daemon import proof
from agent.compute.daemon.guests import GuestReader, Guests
from agent.compute.daemon.proof import Prover, has_moved
from agent.compute.daemon.view import digest_of
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.pin import apply_pin, plan_pin
from agent.core.verdict import Drift
from agent.inspection.host import read_host
from tests.compute.guests import virsh
from tests.compute.placements import FIRST, SECOND, dedicated

HOME, ELSEWHERE = frozenset([0, 1]), frozenset([5])
MOVES = {
    "never seen": (None, {1: HOME}, True),
    "all as before": ({1: HOME, 2: ELSEWHERE}, {1: HOME, 2: ELSEWHERE}, False),
    "a thread has another mask": ({1: HOME, 2: ELSEWHERE}, {1: HOME, 2: HOME}, True),
    "a worker has ended": ({1: HOME, 7: HOME}, {1: HOME}, False),
    "a worker was born where the main thread is": ({1: HOME}, {1: HOME, 7: HOME}, False),
    "a thread was born elsewhere": ({1: HOME}, {1: HOME, 7: ELSEWHERE}, True),
    "the main thread is gone and a new one is there": ({1: HOME}, {7: HOME}, True),
}


@pytest.mark.parametrize(("before", "now", "moved"), MOVES.values(), ids=MOVES.keys())
def test_what_moved(before: proof.Masks | None, now: proof.Masks, moved: bool) -> None:
    assert has_moved(before, now, 1) is moved


def read_guests(libvirt: Driver, *names: str) -> Guests:
    """These guests alone, whoever else's run on this machine."""
    host = read_host()
    read = GuestReader().read(libvirt, host, digest_of(host))
    return Guests(
        claimants=tuple(one for one in read.claimants if one.name in names),
        running=tuple(one for one in read.running if one.name in names),
        expectations={name: one for name, one in read.expectations.items() if name in names},
    )


def test_only_a_guest_that_moved_is_read_again(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    still, name = foreign("still"), foreign("moves")
    placement = dedicated(name, FIRST, SECOND)
    apply_pin(libvirt, journal, plan_pin(libvirt, name, placement, live=True, config=True, owner="", created_at=""))
    read: list[list[str]] = []

    def observe(driver: Driver, names: Collection[str], **more: Any) -> Any:
        read.append(sorted(names))
        return observe_threads(driver, names, **more)

    observe_threads = proof.observe_threads
    monkeypatch.setattr(proof, "observe_threads", observe)
    prover = Prover(libvirt)

    def look() -> tuple[Drift, ...]:
        return prover.check_masks(guests)

    guests = read_guests(libvirt, still, name)
    look()
    assert prover.quick is not None
    assert look() == ()
    assert read == []
    virsh("vcpupin", name, "0", str(SECOND), "--live")
    (drift,) = look()
    assert (drift.change, drift.guest) == ("appeared", name)
    assert drift.finding is not None
    assert "virsh" in (drift.finding.cause or "")
    assert read == [[name]]
    virsh("vcpupin", name, "0", str(FIRST), "--live")
    (drift,) = look()
    assert drift.change == "cleared"
    virsh("destroy", name)
    guests = read_guests(libvirt, still, name)
    changes = {one.change for one in look()}
    assert changes == {"stopped"}
    assert still in {guest.name for guest in prover.quick.guests}
