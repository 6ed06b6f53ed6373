"""Existing domains, pinned and unpinned, adopted, undone: on a real libvirtd, with somebody else's guest."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from agent.compute.adopt import adoption_overlaps, apply_adoption, plan_adoption
from agent.compute.change import undo, undoable
from agent.compute.domains import Refused, RefusedXml
from agent.compute.driver import Driver
from agent.compute.guest_state import ABSENT, GuestState, read_state
from agent.compute.journal import Journal, Outcome
from agent.compute.masks import MaskChange
from agent.compute.pin import Repinning, apply_pin, plan_pin, scope
from agent.compute.prove import verify_host, verify_threads
from agent.compute.repair import apply_repair
from agent.compute.unpin import apply_unpin, plan_unpin
from agent.compute.usage import claimant_of
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, CellwrightError
from agent.core.placement import CacheShare
from tests.compute.guests import pid_of, threads_of, tiny_xml, virsh
from tests.compute.placements import FIRST, HOST, SECOND, dedicated

IOTHREADS = "<iothreads>1</iothreads>"
BOTH = CpuSet([FIRST, SECOND])


def plan(libvirt: Driver, name: str, *pcpus: int, live: bool = True, config: bool = True) -> Repinning:
    placement = dedicated(name, *pcpus, iothreads={1: CpuSet(pcpus[:1])})
    return plan_pin(libvirt, name, placement, live=live, config=config, owner="", created_at="")


def test_pinned_live_and_configured_then_unpinned_is_as_if_nothing_had_been(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign(extra=IOTHREADS)
    before = read_state(libvirt, name)
    verdict = apply_pin(libvirt, journal, plan(libvirt, name, SECOND, FIRST))
    assert verdict is not None
    assert verdict.proven
    assert libvirt.vcpu_pins(name) == {0: CpuSet([SECOND]), 1: CpuSet([FIRST])}
    assert libvirt.vcpu_pins(name, config=True) == libvirt.vcpu_pins(name)
    assert libvirt.iothread_pins(name) == {1: CpuSet([SECOND])}
    assert apply_unpin(libvirt, journal, name, online=HOST.online) == "as before pin"
    assert read_state(libvirt, name) == before


def test_pinned_twice_is_unpinned_to_before_the_first(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("twice")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, SECOND, FIRST))
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    apply_unpin(libvirt, journal, name, online=HOST.online)
    assert read_state(libvirt, name) == before
    assert [entry.outcome for entry in journal.entries()] == [Outcome.UNDONE, Outcome.UNDONE, Outcome.DONE]


def test_live_alone_leaves_the_configuration_and_config_alone_leaves_the_threads(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("half")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, config=False))
    assert read_state(libvirt, name).config == before.config
    apply_unpin(libvirt, journal, name, online=HOST.online)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, live=False))
    assert read_state(libvirt, name).masks == before.masks
    assert libvirt.vcpu_pins(name, config=True) == {0: CpuSet([FIRST]), 1: CpuSet([SECOND])}


def test_unpin_without_a_journal_goes_by_what_the_metadata_remembers(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], tmp_path: Path
) -> None:
    name = foreign("lost")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    other = Journal(tmp_path / "other")
    with other.lock():
        assert apply_unpin(libvirt, other, name, online=HOST.online) == "as its own XML says"
    after = read_state(libvirt, name)
    assert (after.masks, after.metadata) == (before.masks, None)
    assert "vcpupin" not in (after.config or "")


def test_a_live_pin_is_unpinned_without_a_journal_and_the_configuration_stays(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], tmp_path: Path
) -> None:
    name = foreign("live")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, config=False))
    other = Journal(tmp_path / "other")
    with other.lock():
        apply_unpin(libvirt, other, name, online=HOST.online)
        after = read_state(libvirt, name)
        assert (after.masks, after.metadata, after.config) == (before.masks, None, before.config)
        with pytest.raises(BadInput, match="nothing of ours is in it"):
            apply_unpin(libvirt, other, name, online=HOST.online)


def test_threads_that_pin_calls_forget_follow_the_emulator(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    """Widening the emulator's cgroup does not widen threads that were told something narrower."""
    name = foreign("helpers")
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    (monitor,) = [thread for thread in threads_of(pid_of(libvirt, name)) if thread.name == "IO mon_iothread"]
    subprocess.run(["taskset", "-pc", str(FIRST), str(monitor.tid)], check=True, capture_output=True)
    assert not verify_host(libvirt, names=[name], quick=True).ok
    apply_pin(libvirt, journal, plan(libvirt, name, SECOND, FIRST))
    assert verify_host(libvirt, names=[name], quick=True).proven


def kernel_masks(libvirt: Driver, name: str) -> set[str]:
    return {str(thread.allowed) for thread in threads_of(pid_of(libvirt, name))}


@pytest.mark.parametrize("remembered", [True, False])
def test_unpinned_every_thread_is_as_free_as_before_the_forgotten_ones_too(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str], tmp_path: Path, remembered: bool
) -> None:
    name = foreign("free", extra="<cputune><emulatorpin cpuset='0-1'/></cputune>")
    assert kernel_masks(libvirt, name) == {str(BOTH)}
    for pcpu in (FIRST, SECOND):
        apply_pin(libvirt, journal, plan(libvirt, name, pcpu, pcpu))
        assert kernel_masks(libvirt, name) == {str(pcpu)}
    other = Journal(tmp_path / "other")
    with other.lock():
        apply_unpin(libvirt, journal if remembered else other, name, online=HOST.online)
    assert kernel_masks(libvirt, name) == {str(BOTH)}


def test_unpin_is_undone_as_any_change_and_then_unpinned_as_before(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("again")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    pinned = read_state(libvirt, name)
    for _ in range(2):
        assert apply_unpin(libvirt, journal, name, online=HOST.online) == "as before pin"
        assert read_state(libvirt, name) == before
        undo(libvirt, journal, undoable(journal, libvirt.uri)[-1:], verb="undo")
        assert read_state(libvirt, name) == pinned
        assert verify_host(libvirt, names=[name], quick=True).proven


def test_a_guest_with_vcpus_to_plug_in_is_proven_before_and_after(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    name = names("spare")
    xml = tiny_xml(name).replace("<vcpu>", "<vcpu current='1'>")
    libvirt.define(xml, name=name)
    libvirt.start(name, paused=True)
    assert verify_threads(libvirt, name).ok
    verdict = apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    assert verdict is not None
    assert verdict.proven
    virsh("setvcpus", name, "2", "--live")
    apply_repair(libvirt, journal, names=[name])
    assert verify_threads(libvirt, name).proven
    assert libvirt.vcpu_pins(name)[1] == CpuSet([SECOND])


def test_a_vcpu_without_a_pin_is_left_where_it_is_when_another_is_repaired(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    tune = f"<cputune><vcpupin vcpu='0' cpuset='{FIRST}'/><emulatorpin cpuset='{FIRST}'/></cputune>"
    name = foreign("unpinned", extra=tune)
    apply_adoption(libvirt, journal, plan_adoption(libvirt, name, HOST), owner="", created_at="")
    free = libvirt.vcpu_pins(name)[1]
    virsh("vcpupin", name, "0", str(SECOND), "--live")
    (done,) = apply_repair(libvirt, journal, names=[name])
    assert done.result == "repaired"
    assert libvirt.vcpu_pins(name) == {0: CpuSet([FIRST]), 1: free}


def test_the_difference_is_known_before_anything_changes(libvirt: Driver, foreign: Callable[..., str]) -> None:
    name = foreign("diff")
    libvirt.pin_vcpus(name, {1: CpuSet([SECOND])})
    rows = plan(libvirt, name, FIRST, SECOND).changes()
    assert MaskChange("vcpu 0", HOST.online, CpuSet([FIRST])) in rows
    assert not [row for row in rows if row.thread == "vcpu 1"]
    assert libvirt.vcpu_pins(name)[0] == HOST.online


def test_a_refused_configuration_changes_nothing(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("refused")
    before = read_state(libvirt, name)
    good = plan(libvirt, name, FIRST, SECOND)
    bad = good.config.replace("<vcpupin ", "<vcpunip ") if good.config else None
    with pytest.raises(BadInput, match=r"refuses the XML at <(vcpunip|cputune)>"):
        apply_pin(libvirt, journal, msgspec.structs.replace(good, config=bad))
    assert read_state(libvirt, name) == before


def test_what_libvirt_says_no_to_is_passed_on_with_the_element(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    """The document is valid; libvirt has no cache shares for a guest that is emulated."""
    name = foreign("cache")
    before = read_state(libvirt, name)
    placement = msgspec.structs.replace(
        dedicated(name, FIRST, SECOND), cache_shares=(CacheShare(CpuSet([0, 1]), 0, 1024),)
    )
    refused = plan_pin(libvirt, name, placement, live=False, config=True, owner="", created_at="")
    with pytest.raises(RefusedXml, match=r"at <cachetune>: .*only supported for KVM") as caught:
        apply_pin(libvirt, journal, refused)
    assert caught.value.element == "cachetune"
    assert read_state(libvirt, name) == before
    assert journal.entries()[-1].outcome is Outcome.PUT_BACK


def test_a_domain_that_ends_meanwhile_is_said(libvirt: Driver, journal: Journal, foreign: Callable[..., str]) -> None:
    name = foreign("ends")
    ready = plan(libvirt, name, FIRST, SECOND, config=False)
    virsh("destroy", name)
    with pytest.raises((Refused, CellwrightError), match=name):
        apply_pin(libvirt, journal, ready)
    assert journal.entries()[-1].outcome is Outcome.PUT_BACK


@pytest.mark.parametrize(
    ("meanwhile", "what"),
    [
        (lambda name: virsh("define", "/dev/stdin", stdin=edited(name)), "its configuration"),
        (lambda name: virsh("vcpupin", name, "0", str(SECOND), "--live"), "its masks"),
    ],
    ids=["virsh define", "virsh vcpupin"],
)
@pytest.mark.parametrize("verb", ["pin", "unpin"])
def test_what_somebody_else_changes_behind_a_plan_is_not_written_over(
    libvirt: Driver,
    journal: Journal,
    foreign: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    meanwhile: Callable[[str], str],
    what: str,
    verb: str,
) -> None:
    name = foreign("edited")
    if verb == "pin":
        ready = plan(libvirt, name, FIRST, SECOND)
        meanwhile(name)
        theirs = read_state(libvirt, name)
        with pytest.raises(BadInput, match=f"^domain {name} was changed by somebody else just now: {what}; nothing"):
            apply_pin(libvirt, journal, ready)
    else:
        apply_pin(libvirt, journal, plan(libvirt, name, FIRST, FIRST))
        ready_to_unpin = plan_unpin(libvirt, name, online=HOST.online)
        meanwhile(name)
        theirs = read_state(libvirt, name)
        monkeypatch.setattr("agent.compute.unpin.plan_unpin", lambda *_, **__: ready_to_unpin)
        other = Journal(tmp_path / "other")
        with other.lock(), pytest.raises(BadInput, match=f"just now: {what}; nothing was changed"):
            apply_unpin(libvirt, other, name, online=HOST.online)
        assert other.entries() == ()
    assert read_state(libvirt, name) == theirs


def edited(name: str) -> str:
    """The domain's configuration with somebody's title."""
    return virsh("dumpxml", "--inactive", name).replace("</name>", "</name><title>edited</title>", 1)


def test_undoing_a_live_pin_of_a_guest_that_was_stopped_says_that_its_masks_are_gone(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("stopped")
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, config=False))
    libvirt.destroy(name)
    kept = undo(libvirt, journal, undoable(journal, libvirt.uri), verb="undo")
    assert kept == "it does not run any more: the masks that its threads had then are gone with them"
    assert undoable(journal, libvirt.uri) == ()


def test_a_transient_guest_without_a_journal_is_freed_and_that_is_said(
    libvirt: Driver, journal: Journal, names: Callable[[str], str], tmp_path: Path
) -> None:
    name = names("transient")
    libvirt.start_transient(tiny_xml(name), name=name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, config=False))
    other = Journal(tmp_path / "other")
    with other.lock():
        said = apply_unpin(libvirt, other, name, online=HOST.online)
    assert said.startswith("and its threads may use every pCPU: a transient guest has no XML")
    assert set(libvirt.vcpu_pins(name).values()) == {HOST.online}


def test_another_guests_size_is_refused(libvirt: Driver, foreign: Callable[..., str]) -> None:
    name = foreign("size")
    with pytest.raises(BadInput, match="has 2 vCPUs, the placement 1"):
        plan(libvirt, name, FIRST)


@pytest.mark.parametrize(
    ("running", "live", "config", "expected"),
    [
        (True, False, False, (True, False)),
        (False, False, False, (False, True)),
        (True, True, True, (True, True)),
        (True, False, True, (False, True)),
        (False, True, False, "is not running"),
    ],
)
def test_live_config_and_current_mean_what_virsh_means(
    libvirt: Driver,
    names: Callable[[str], str],
    running: bool,
    live: bool,
    config: bool,
    expected: tuple[bool, bool] | str,
) -> None:
    name = names("scope")
    libvirt.define(tiny_xml(name), name=name)
    if running:
        libvirt.start(name, paused=True)
    if isinstance(expected, str):
        with pytest.raises(BadInput, match=expected):
            scope(libvirt.domain(name), live=live, config=config)
    else:
        assert scope(libvirt.domain(name), live=live, config=config) == expected


def test_undo_is_refused_when_somebody_else_changed_the_domain_since(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    name = foreign("undo")
    before = read_state(libvirt, name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND))
    virsh("vcpupin", name, "0", str(SECOND), "--live")
    done = undoable(journal, libvirt.uri)
    with pytest.raises(BadInput, match=f"domain {name} was changed since pin 1: its masks; --force"):
        undo(libvirt, journal, done, verb="undo")
    undo(libvirt, journal, done, verb="undo", force=True)
    assert read_state(libvirt, name) == before
    assert undoable(journal, libvirt.uri) == ()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("reborn", "why"), [(False, "is gone"), (True, "is another one now")])
def test_changes_of_a_guest_that_is_gone_for_good_are_left_alone_and_the_next_undo_goes_on(
    libvirt: Driver, journal: Journal, names: Callable[[str], str], reborn: bool, why: str, force: bool
) -> None:
    name = names("gone")
    libvirt.start_transient(tiny_xml(name), name=name)
    apply_pin(libvirt, journal, plan(libvirt, name, FIRST, SECOND, config=False))
    libvirt.destroy(name)
    if reborn:
        libvirt.define(tiny_xml(name), name=name)
    config = libvirt.xml(name, config=True) if reborn else None
    with pytest.raises(BadInput, match=f"^domain {name} {why}.*: pin 1 is left alone$"):
        undo(libvirt, journal, undoable(journal, libvirt.uri), verb="undo", force=force)
    assert undoable(journal, libvirt.uri) == ()
    assert [entry.outcome for entry in journal.entries()] == [Outcome.LEFT_ALONE]
    assert read_state(libvirt, name).config == config


def test_a_created_guest_that_somebody_took_away_is_undone_at_once(
    libvirt: Driver, journal: Journal, names: Callable[[str], str]
) -> None:
    name = names("taken")
    journal.end(
        journal.begin(verb="create", uri=libvirt.uri, domain=name, before=ABSENT, uuid=str(uuid4())),
        Outcome.DONE,
        after=GuestState(uuid=str(uuid4()), running=True),
    )
    undo(libvirt, journal, undoable(journal, libvirt.uri), verb="undo")
    assert undoable(journal, libvirt.uri) == ()


def test_adoption_adds_metadata_and_nothing_else(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    pins = f"<cputune><vcpupin vcpu='0' cpuset='{FIRST}'/><vcpupin vcpu='1' cpuset='{SECOND}'/></cputune>"
    name = foreign("adopt", extra=pins)
    before = read_state(libvirt, name)
    placement = plan_adoption(libvirt, name, HOST)
    assert placement.owned() == BOTH
    apply_adoption(libvirt, journal, placement, owner="ops", created_at="2026-11-23T00:00:00Z")
    assert read_state(libvirt, name).masks == before.masks
    adopted = claimant_of(name, libvirt.xml(name), HOST)
    assert (adopted.foreign, adopted.placement) == (False, placement)
    with pytest.raises(BadInput, match="is ours already"):
        plan_adoption(libvirt, name, HOST)
    undo(libvirt, journal, undoable(journal, libvirt.uri), verb="undo")
    assert read_state(libvirt, name) == before


def test_an_adopted_guests_unpinned_io_threads_are_where_they_should_be_wherever_its_emulator_is(
    libvirt: Driver, journal: Journal, foreign: Callable[..., str]
) -> None:
    tune = f"<cputune><vcpupin vcpu='0' cpuset='{FIRST}'/><emulatorpin cpuset='{SECOND}'/></cputune>"
    name = foreign("adoptio", extra=IOTHREADS + tune)
    apply_adoption(libvirt, journal, plan_adoption(libvirt, name, HOST), owner="", created_at="")
    (verdict,) = verify_threads(libvirt, name).guests
    assert (verdict.findings, verdict.expectation) == ((), "placement")


def test_an_adopted_guest_that_shares_a_pcpu_is_reported() -> None:
    other = f"<cputune><vcpupin vcpu='0' cpuset='{SECOND}'/></cputune>"
    theirs = claimant_of("theirs", tiny_xml("theirs", vcpus=1, extra=other), HOST)
    (finding,) = adoption_overlaps(dedicated("mine", FIRST, SECOND), [theirs])
    assert finding.message == f"pCPU {SECOND} is owned by two guests: mine and theirs"
