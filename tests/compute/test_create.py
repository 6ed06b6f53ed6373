"""New guests on a real libvirtd: they run where they were placed, or nothing of them is left."""

from collections.abc import Callable

import msgspec
import pytest

from agent.compute.change import change, recover
from agent.compute.create import NewGuest, apply_create, plan_guest
from agent.compute.domains import Refused, State
from agent.compute.driver import Driver
from agent.compute.guest_state import ABSENT, read_state
from agent.compute.journal import Journal, Outcome
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, CellwrightError
from agent.domain.parse import parse_intent
from agent.domain.render import render_domain
from tests.compute.guests import threads_of, tiny_xml
from tests.compute.placements import FIRST, SECOND, dedicated


def planned(name: str) -> NewGuest:
    placement = dedicated(name, SECOND, FIRST)
    return plan_guest(placement, render_domain(placement, template="tiny", virt_type="qemu"))


def test_a_created_guest_runs_on_its_pcpus_and_knows_why(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    guest = planned(names("create"))
    verdict = apply_create(libvirt, journal, guest)
    found = libvirt.domain(guest.name)
    assert (found.state, found.uuid) == (State.RUNNING, guest.uuid)
    assert found.pid is not None
    allowed = {thread.name: str(thread.allowed) for thread in threads_of(found.pid)}
    assert (allowed["CPU 0/TCG"], allowed["CPU 1/TCG"]) == (str(SECOND), str(FIRST))
    intent = parse_intent(libvirt.xml(guest.name, config=True))
    assert intent is not None
    assert intent.placement == guest.placement
    assert verdict is not None
    assert verdict.ok
    (entry,) = journal.entries()
    assert (entry.verb, entry.outcome, entry.before) == ("create", Outcome.DONE, ABSENT)
    assert entry.after is not None
    assert entry.after.masks.vcpus == {0: CpuSet([SECOND]), 1: CpuSet([FIRST])}


def test_a_guest_that_cannot_start_leaves_nothing(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    guest = planned(names("nostart"))
    xml = guest.xml.replace(
        "</devices>", "<disk type='file'><source file='/nowhere.img'/><target dev='vda'/></disk></devices>"
    )
    with pytest.raises(Refused, match=r"start: .*nowhere\.img"):
        apply_create(libvirt, journal, msgspec.structs.replace(guest, xml=xml))
    assert not libvirt.exists(guest.name)
    assert journal.entries()[0].outcome is Outcome.PUT_BACK


def test_a_name_that_is_taken_is_never_touched(libvirt: Driver, journal: Journal, foreign: Callable[..., str]) -> None:
    name = foreign()
    before = libvirt.domain(name)
    with pytest.raises(BadInput, match=f"{name} exists already on .* cellwright pin"):
        apply_create(libvirt, journal, planned(name))
    assert libvirt.domain(name) == before
    assert journal.entries() == ()


@pytest.mark.parametrize("name", ['quo"te', "<angle>", "pa/th", "..", ""])
def test_a_name_that_no_guest_of_ours_may_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        planned(name)


def test_an_interrupted_create_is_put_back_by_the_next_verb(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    """What a kill -9 between start and resume leaves: the guest is paused, the entry is ``begun``."""
    guest = planned(names("killed"))
    begun = journal.begin(verb="create", uri=libvirt.uri, domain=guest.name, before=ABSENT, uuid=guest.uuid)
    libvirt.define(guest.xml, name=guest.name)
    libvirt.start(guest.name, paused=True)
    said: list[str] = []
    recover(libvirt, journal, say=said.append)
    assert not libvirt.exists(guest.name)
    assert journal.entry(begun.id).outcome is Outcome.PUT_BACK
    assert said == [
        f"create of {guest.name} (journal entry 1, {begun.begun_at}) was interrupted:"
        f" {guest.name} is again as it was before"
    ]


@pytest.mark.parametrize("undefined", [False, True])
def test_an_interrupted_undo_of_a_create_that_has_stopped_the_guest_is_ended(
    libvirt: Driver, journal: Journal, names: Callable[[str], str], undefined: bool
) -> None:
    """What a kill -9 behind destroy, or behind undefine, leaves: the guest cannot run on as before."""
    guest = planned(names("halfway"))
    apply_create(libvirt, journal, guest)
    before = read_state(libvirt, guest.name)
    journal.begin(verb="undo", uri=libvirt.uri, domain=guest.name, before=before, uuid=guest.uuid, undoes=(1,))
    libvirt.destroy(guest.name)
    if undefined:
        libvirt.undefine(guest.name)
    said: list[str] = []
    recover(libvirt, journal, say=said.append)
    assert not libvirt.exists(guest.name)
    assert said[0].endswith(f"was interrupted when {guest.name} had been stopped: it is taken away")
    assert [entry.outcome for entry in journal.entries()] == [Outcome.UNDONE, Outcome.DONE]


def test_an_interrupted_pin_of_a_guest_that_is_gone_is_left_alone(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    name = names("vanished")
    libvirt.start_transient(tiny_xml(name), name=name)
    before = read_state(libvirt, name)
    journal.begin(verb="pin", uri=libvirt.uri, domain=name, before=before, uuid=before.uuid)
    libvirt.destroy(name)
    said: list[str] = []
    recover(libvirt, journal, say=said.append)
    recover(libvirt, journal, say=said.append)
    assert len(said) == 1
    assert said[0].endswith(f"was interrupted, and {name} is gone: left alone")
    assert journal.entry(1).outcome is Outcome.LEFT_ALONE


def test_somebody_elses_domain_of_that_name_survives_the_recovery(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("reborn")
    journal.begin(
        verb="create", uri=libvirt.uri, domain=name, before=ABSENT, uuid="8506e13b-3f77-4e8f-af6e-b543d9e8891b"
    )
    said: list[str] = []
    recover(libvirt, journal, say=said.append)
    assert libvirt.domain(name).active
    assert said[0].endswith(f"{name} is now another domain: left alone")
    assert journal.entries()[0].outcome is Outcome.LEFT_ALONE


def test_a_failure_in_the_middle_of_a_change_puts_the_masks_back(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("middle")
    before = libvirt.vcpu_pins(name)

    def half_a_change() -> None:
        with change(libvirt, journal, verb="pin", name=name):
            libvirt.pin_vcpus(name, {0: CpuSet([SECOND])})
            raise CellwrightError("power cut")

    with pytest.raises(CellwrightError, match="power cut"):
        half_a_change()
    assert libvirt.vcpu_pins(name) == before


def test_what_cannot_be_put_back_yet_is_tried_again_by_the_next_verb(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = foreign("again")
    before = read_state(libvirt, name)
    begun = journal.begin(verb="pin", uri=libvirt.uri, domain=name, before=before, uuid=before.uuid)
    libvirt.pin_vcpus(name, {0: CpuSet([SECOND])})
    said: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr(libvirt, "pin_vcpus", lambda *_: (_ for _ in ()).throw(Refused("not now")))
        recover(libvirt, journal, say=said.append)
    assert said[0].endswith("which the next verb tries again: not now")
    recover(libvirt, journal, say=said.append)
    assert said[1].endswith("is again as it was before")
    assert journal.entry(begun.id).outcome is Outcome.PUT_BACK
    assert read_state(libvirt, name) == before
