"""Interrupts off owned pCPUs: what goes where, what comes back, who interferes; and on this very machine."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.compute import host_values
from agent.compute.change import IRQ_STEERING
from agent.compute.driver import Driver
from agent.compute.host_values import HostValues
from agent.compute.irqs import Quiet, Steering, plan_irqs, quiet_pcpus, render_mask
from agent.compute.journal import Journal, Outcome
from agent.compute.kernel_files import KernelValue
from agent.compute.usage import read_claimants
from agent.core.cpuset import CpuSet
from agent.core.observation import ObservedIrq
from agent.inspection.files import Root
from tests.compute.kernel_tree import DEFAULT, LIST, allowed, can_move, make_tree, refusing
from tests.compute.placements import HOST, SECOND

OWN = {"0000:00:03.0": CpuSet([1])}

PLANS = {
    "off the owned pCPU, the rest stays": ("0-3", "f", "1", {24: "0,2-3", DEFAULT: "d"}),
    "what is elsewhere already is left alone": ("2", "d", "1", {}),
    "what has no other pCPU goes to the spare ones": ("1", "d", "1", {24: "0"}),
    "a guest's own device may interrupt it": ("0-3", "d", "1", {24: "0,2-3"}),
    "every pCPU owned: nowhere to go": ("0-3", "f", "0-3", {}),
}


@pytest.mark.parametrize(("allowed", "default", "owned", "wanted"), PLANS.values(), ids=PLANS.keys())
def test_plan(allowed: str, default: str, owned: str, wanted: dict[int | str, str]) -> None:
    own = "a guest's own" if wanted == {24: "0,2-3"} else ""
    irqs = [ObservedIrq(number=24, name="MSIX eth0", allowed=CpuSet.parse(allowed))]
    irqs += [ObservedIrq(number=25, name="MSIX vfio-msix[0](0000:00:03.0)", allowed=CpuSet([1]))] if own else []
    cpus = CpuSet.parse(owned)
    planned = plan_irqs(irqs, default, Quiet(cpus, CpuSet([0]) - cpus, OWN), held={})
    assert planned == {LIST.format(key) if isinstance(key, int) else key: text for key, text in wanted.items()}


def test_a_plan_starts_from_what_was_allowed_before_we_came() -> None:
    """The first guest went and one on pCPU 2 came: pCPU 1 comes back, 2 goes."""
    file = LIST.format(24)
    irqs = [ObservedIrq(number=24, name="MSIX eth0", allowed=CpuSet.parse("0,2-3"))]
    held = {file: KernelValue(file, "0-3", "0,2-3")}
    assert plan_irqs(irqs, None, Quiet(CpuSet([2]), CpuSet([0])), held=held) == {file: "0-1,3"}


@pytest.mark.parametrize(
    ("cpus", "like", "text"),
    [
        ("0-1", "3", "3"),
        ("1", "f", "2"),
        ("0,33", "ff,ffffffff", "02,00000001"),
        ("0-71", "ff,ffffffff,ffffffff", None),
    ],
)
def test_masks_are_written_as_the_kernel_writes_them(cpus: str, like: str, text: str | None) -> None:
    assert render_mask(CpuSet.parse(cpus), like=like) == (text or like)


@pytest.fixture
def tree(tmp_path: Path) -> Root:
    return make_tree(tmp_path / "tree", affinities={24: "0-3", 25: "1", 26: "2"})


def steering(root: Root, journal: Journal) -> Steering:
    return Steering(HostValues(journal, verb="irq-steering", uri="test:///", root=root, continued=True), root)


def quiet(owned: str) -> Quiet:
    return Quiet(CpuSet.parse(owned), CpuSet([0]), OWN)


def test_guests_come_and_go_and_interrupts_follow(tree: Root, journal: Journal) -> None:
    one = steering(tree, journal)
    assert one.steer(quiet("2")).moved == (
        "IRQ 24 (eth0-rx): 0-3 -> 0-1,3",
        "IRQ 26 (nvme0q1): 2 -> 0",
        "the default for new interrupts: f -> b",
    )
    assert one.steer(quiet("2")) == one.steer(quiet("2"))  # nothing more to do
    assert one.steer(quiet("3")).returned == ("IRQ 26 (nvme0q1): 0 -> 2",)
    assert allowed(tree) == {24: "0-2", 25: "1", 26: "2"}
    one.steer(quiet(""))
    assert (allowed(tree), tree.line(DEFAULT)) == ({24: "0-3", 25: "1", 26: "2"}, "f")
    (entry,) = journal.entries()
    assert (entry.verb, entry.outcome, entry.values) == ("irq-steering", Outcome.UNDONE, ())


def test_another_process_goes_on_where_the_first_one_died(tree: Root, journal: Journal) -> None:
    steering(tree, journal).steer(quiet("2"))
    assert steering(tree, journal).steer(quiet("")).returned
    assert allowed(tree) == {24: "0-3", 25: "1", 26: "2"}


def test_nothing_is_put_back_after_a_reboot(tree: Root, journal: Journal) -> None:
    steering(tree, journal).steer(quiet("2"))
    Path(tree.prefix, "proc/sys/kernel/random/boot_id").write_text("b-2\n")
    assert steering(tree, journal).release().returned == ()


def test_who_moves_one_back_is_seen_and_it_is_moved_again(tree: Root, journal: Journal) -> None:
    one = steering(tree, journal)
    one.steer(quiet("2"))
    Path(tree.prefix, LIST.format(24)).write_text("2\n")
    done = one.steer(quiet("2"))
    assert done.foreign == ("IRQ 24 (eth0-rx): 0-1,3 -> 2",)
    assert done.moved == ("IRQ 24 (eth0-rx): 2 -> 0",)
    one.release()
    assert allowed(tree)[24] == "2"  # what he wanted


def test_an_interrupt_that_is_gone_is_forgotten(tree: Root, journal: Journal) -> None:
    one = steering(tree, journal)
    one.steer(quiet("2"))
    Path(tree.prefix, LIST.format(26)).unlink()
    assert "IRQ 26" not in str(one.release())
    assert allowed(tree) == {24: "0-3", 25: "1", 26: "None"}


def test_what_the_kernel_refuses_is_named_each_time_and_tried_once(
    tree: Root, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = refusing("/26/")
    monkeypatch.setattr(host_values, "write_value", write)
    one = steering(tree, journal)
    for _ in range(3):
        assert one.steer(quiet("2")).stuck == ("IRQ 26 (nvme0q1) stays on owned pCPU 2",)
    assert len(write.asked) == 1  # type: ignore[attr-defined]
    assert one.steer(quiet("1")).stuck == ()


def test_a_missing_right_is_said_and_tried_again(tree: Root, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_values, "write_value", refusing("proc/irq", for_good=False))
    one = steering(tree, journal)
    assert "3 interrupts cannot be moved" in one.steer(quiet("2")).failed
    monkeypatch.undo()
    assert len(one.steer(quiet("2")).moved) == 3


def test_a_kill_in_the_middle_leaves_an_entry_that_is_put_back(
    tree: Root, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(root: Root, file: str, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(host_values, "write_value", die)
    with pytest.raises(KeyboardInterrupt):
        steering(tree, journal).steer(quiet("2"))
    monkeypatch.undo()
    (entry,) = journal.entries()
    assert entry.outcome is Outcome.BEGUN
    Path(tree.prefix, LIST.format(24)).write_text("0-1,3\n")  # as if one of three was written
    host_values.put_back_values(tree, entry, force=True)
    assert allowed(tree) == {24: "0-3", 25: "1", 26: "2"}


# ---------------------------------------------------------------- this machine's own interrupts


def test_repair_moves_this_machines_interrupts_and_undo_takes_it_back(
    libvirt: Driver,
    foreign: Callable[..., str],
    interrupts: dict[int, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A foreign guest owns a pCPU: interrupts leave it, but for those that the kernel manages."""
    name = foreign("irqs", vcpus=1, extra=f"<cputune><vcpupin vcpu='0' cpuset='{SECOND}'/></cputune>")
    state = f"--state-dir={tmp_path}"
    assert main(["repair", "--irqs", "--dry-run", name, state]) == 4
    assert allowed(Root()) == interrupts
    assert "would be moved" in capsys.readouterr().out
    code = main(["repair", "--irqs", name, state])
    said = capsys.readouterr().out
    moved = {int(number) for number in re.findall(r"^IRQ (\d+) .* -> ", said, re.MULTILINE)}
    managed = {int(number) for number in re.findall(r"^IRQ (\d+) .* stays on", said, re.MULTILINE)}
    assert moved
    assert code == (4 if managed else 0)
    left = {number for number, cpus in allowed(Root()).items() if SECOND in CpuSet.parse(cpus)}
    assert managed <= left  # a managed one may land elsewhere, and is not named then
    assert left.isdisjoint(moved)
    assert SECOND not in CpuSet.from_mask(Root().line(DEFAULT) or "")
    assert main(["undo", "--list", state]) == 0
    assert "(host)" in capsys.readouterr().out
    assert main(["undo", state]) == 0
    assert allowed(Root()) == interrupts


def test_an_unknown_guest_moves_nothing(libvirt: Driver, interrupts: dict[int, str], tmp_path: Path) -> None:
    assert main(["repair", "--irqs", "cwa-no-such-guest", f"--state-dir={tmp_path}"]) == 2
    assert allowed(Root()) == interrupts


def test_undo_takes_back_what_the_agent_keeps_up_by_its_number_alone(
    libvirt: Driver, tmp_path: Path, interrupts: dict[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    journal, root = Journal(tmp_path / "journal"), Root()
    number = next(filter(can_move, interrupts))
    with journal.lock():
        values = HostValues(journal, verb=IRQ_STEERING, uri=libvirt.uri, root=root, continued=True)
        assert values.settle({LIST.format(number): str(SECOND)}).changed
    assert main(["undo", f"--state-dir={tmp_path}"]) == 2
    assert allowed(root)[number] == str(SECOND)
    assert main(["undo", "1", f"--state-dir={tmp_path}"]) == 0
    assert "the host is as before irq-steering 1" in capsys.readouterr().out
    assert allowed(root) == interrupts


def test_spare_pcpus_are_those_that_no_guest_may_own(libvirt: Driver, foreign: Callable[..., str]) -> None:
    name = foreign("spare", vcpus=1, extra=f"<cputune><vcpupin vcpu='0' cpuset='{SECOND}'/></cputune>")
    claimants = [one for one in read_claimants(libvirt, HOST) if one.name == name]
    made = quiet_pcpus(claimants, HOST)
    assert (made.owned, made.spare) == (CpuSet([SECOND]), HOST.online - CpuSet([SECOND]))
