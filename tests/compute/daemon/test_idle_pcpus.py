"""Idle dedicated pCPUs: which sleep, which wake, and how the host looks while some do."""

import logging
from pathlib import Path

import msgspec
import pytest

from agent.compute import host_values
from agent.compute.daemon.carry_out import Tools
from agent.compute.daemon.idle_pcpus import IdlePcpus
from agent.compute.daemon.interrupts import Interrupts
from agent.compute.daemon.say import Say
from agent.compute.daemon.view import digest_of
from agent.compute.driver import Driver
from agent.compute.journal import Journal
from agent.compute.power import with_asleep
from agent.compute.usage import Claimant
from agent.core.codec import decode
from agent.core.cpuset import CpuSet
from agent.core.errors import CellwrightError
from agent.core.placement import Placement
from agent.core.topology import HostTopology
from agent.inspection.cpu_power import cpu_switched_by, governor_file, online_file
from agent.inspection.synthetic import parse_synthetic
from agent.settings.agent import AgentSettings
from tests.compute.kernel_tree import make_tree, refusing
from tests.compute.placements import dedicated

RECORDED = Path(__file__).parents[2] / "recorded"
ON = AgentSettings(cpu_power_management=True)
GOVERNOR = AgentSettings(cpu_power_management=True, cpu_power_management_strategy="governor")
HOST = msgspec.structs.replace(parse_synthetic("core:4"), dedicated_set=CpuSet([0, 1, 2, 3]), shared_set=CpuSet())


class Bench:
    """IdlePcpus over a tree of four pCPUs."""

    def __init__(self, folder: Path) -> None:
        self.root = make_tree(folder / "tree", affinities={24: "0-3"})
        self.tools = Tools(Driver("test:///default"), Journal(folder / "journal"), ON, folder)
        self.restart()

    def restart(self) -> None:
        """As after a kill: what is known is in the journal and in the kernel."""
        self.idle = IdlePcpus(self.tools, Say(), self.root)

    def read(self) -> HostTopology:
        """The host as its kernel shows it: what is offline is in no cell."""
        online = CpuSet(cpu for cpu in range(4) if self.line(online_file(cpu)) != "0")
        self.write("sys/devices/system/cpu/online", str(online))
        (cell,) = HOST.cells
        cores = tuple(core for core in cell.cores if core.cpus <= online)
        cell = msgspec.structs.replace(cell, cpus=online, cores=cores, caches=())
        offline = HOST.online - online
        return msgspec.structs.replace(HOST, online=online, offline=offline, cells=(cell,), cores=len(cores))

    def keep(self, settings: AgentSettings, *owned: int, defined: str = "", host: HostTopology = HOST) -> list[str]:
        claimants = [Claimant(name="g", foreign=False, placement=owning(*owned))] if owned else []
        self.read()
        found = self.idle.keep(settings, claimants, host, pids={}, defined=CpuSet.parse(defined))
        return [finding.message for finding in found]

    def asleep(self) -> str:
        return str(CpuSet(cpu for cpu in range(4) if self.line(online_file(cpu)) == "0"))

    def governors(self) -> list[str]:
        return [self.line(governor_file(cpu)) for cpu in range(4)]

    def line(self, file: str) -> str:
        return self.root.line(file) or ""

    def write(self, file: str, text: str) -> None:
        path = Path(self.root.prefix, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def owning(*cpus: int) -> Placement:
    """A placement that owns these pCPUs, its emulator among them."""
    placement = dedicated("g", 0)
    (cell,) = placement.cells
    pins = {vcpu: CpuSet([cpu]) for vcpu, cpu in enumerate(cpus)}
    cell = msgspec.structs.replace(cell, vcpus=CpuSet(pins), pins=pins)
    return msgspec.structs.replace(placement, cells=(cell,), emulator=CpuSet(cpus))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_idle_ones_sleep_and_pcpu_0_never(bench: Bench) -> None:
    assert bench.keep(ON) == []
    assert bench.asleep() == "1-3"


def test_nothing_sleeps_under_a_guest_or_where_a_defined_one_would_start(bench: Bench) -> None:
    bench.keep(ON, 2, defined="3")
    assert bench.asleep() == "1"


def test_a_guest_that_comes_is_waited_for_and_one_that_goes_leaves_its_pcpu_to_sleep(bench: Bench) -> None:
    bench.keep(ON)
    with bench.tools.journal.lock():
        bench.idle.wake(CpuSet([2]))
    assert bench.asleep() == "1,3"
    bench.keep(ON, 2)
    assert bench.asleep() == "1,3"
    bench.keep(ON)
    assert bench.asleep() == "1-3"


@pytest.mark.parametrize(
    "sets",
    [{"dedicated_set": None, "shared_set": None}, {"dedicated_set": CpuSet(range(4)), "shared_set": CpuSet(range(4))}],
    ids=["no sets", "a legacy vcpu_pin_set"],
)
def test_only_what_is_dedicated_by_the_operators_word(
    bench: Bench, sets: dict[str, CpuSet | None], caplog: pytest.LogCaptureFixture
) -> None:
    bench.keep(ON, host=msgspec.structs.replace(HOST, **sets))
    bench.keep(ON, host=msgspec.structs.replace(HOST, **sets))
    assert bench.asleep() == ""
    assert [record.message.partition(":")[0] for record in caplog.records] == ["cpu_power_management does nothing"]


def test_cgroups_of_version_1_would_lose_the_pcpu_for_good(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.write("proc/self/cgroup", "4:cpuset:/\n0::/")
    bench.keep(ON)
    assert bench.asleep() == ""
    assert "systemd.unified_cgroup_hierarchy=1" in caplog.text
    bench.keep(GOVERNOR)
    assert bench.governors()[1] == "powersave"


def test_governors_follow_use_and_come_back(bench: Bench) -> None:
    bench.keep(GOVERNOR, 2)
    assert bench.governors() == ["ondemand", "powersave", "performance", "powersave"]
    bench.keep(GOVERNOR)
    assert bench.governors() == ["ondemand", "powersave", "powersave", "powersave"]
    bench.keep(AgentSettings())
    assert bench.governors() == ["ondemand"] * 4


def test_without_cpufreq_governors_do_nothing_and_that_is_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for cpu in range(4):
        (Path(bench.root.folder) / governor_file(cpu)).unlink()
    bench.keep(GOVERNOR)
    assert "no /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor: no cpufreq driver" in caplog.text


def test_another_strategy_undoes_the_first(bench: Bench) -> None:
    bench.keep(ON)
    bench.keep(GOVERNOR)
    assert (bench.asleep(), bench.governors()[1]) == ("", "powersave")


@pytest.mark.parametrize("killed", [False, True], ids=["switched off", "killed, and switched off meanwhile"])
def test_switched_off_everything_wakes(bench: Bench, killed: bool) -> None:
    bench.keep(ON)
    if killed:
        bench.restart()
    bench.keep(AgentSettings())
    assert bench.asleep() == ""


def test_who_wakes_one_keeps_it_until_a_guest_had_it(bench: Bench) -> None:
    bench.keep(ON)
    bench.write(online_file(2), "1")
    assert bench.keep(ON) == [f"somebody wrote 1 to /{online_file(2)}"]
    assert bench.asleep() == "1,3"
    assert bench.keep(ON) == []
    assert bench.asleep() == "1,3"
    bench.keep(ON, 2)
    bench.keep(ON)
    assert bench.asleep() == "1-3"


def test_the_host_looks_as_if_all_ran(bench: Bench) -> None:
    whole = bench.idle.complete(bench.read)
    bench.keep(ON)
    seen = bench.idle.complete(bench.read)
    assert bench.asleep() == "1-3"
    assert digest_of(seen) == digest_of(whole)
    assert seen.online == CpuSet(range(4))


def test_after_a_kill_all_are_woken_to_see_how_the_host_looks(bench: Bench) -> None:
    bench.keep(ON)
    bench.restart()
    assert bench.idle.complete(bench.read).online == CpuSet(range(4))
    assert bench.asleep() == ""
    bench.keep(ON)
    assert bench.asleep() == "1-3"


def test_a_pcpu_that_somebody_took_away_shows(bench: Bench) -> None:
    bench.idle.complete(bench.read)
    bench.keep(ON, 2)
    bench.write(online_file(2), "0")
    assert bench.idle.complete(bench.read).online == CpuSet([0, 1, 3])


def test_one_that_does_not_wake_stops_the_guest_and_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.keep(ON)
    monkeypatch.setattr(host_values, "write_value", refusing("cpu2"))
    refused = r"does not wake: .*cpu2/online: 1 cannot be written"
    with pytest.raises(CellwrightError, match=refused), bench.tools.journal.lock():
        bench.idle.wake(CpuSet([2]))


def test_one_that_is_busy_stays_awake_and_is_named_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_values, "write_value", refusing("cpu2"))
    bench.keep(ON)
    bench.keep(ON)
    assert bench.asleep() == "1,3"
    assert sum("cpu2/online" in record.message for record in caplog.records if record.levelno == logging.ERROR) == 1


def test_an_agent_that_ends_wakes_all(bench: Bench) -> None:
    bench.keep(ON)
    bench.idle.wake_all()
    assert bench.asleep() == ""


def test_files_and_pcpus() -> None:
    assert [cpu_switched_by(file) for file in (online_file(12), governor_file(12), "sys/x")] == [12, None, None]


@pytest.mark.parametrize("name", ["lab-2n", "lab-4s", "lab-2n-htsplit"])
def test_recorded_hosts_are_whole_again(name: str) -> None:
    """What the kernel shows with some pCPUs offline, and what we knew before, make the host of before."""
    path = RECORDED / f"{name}.json"
    whole = decode(path.read_bytes(), HostTopology, source=str(path))
    asleep = CpuSet(list(whole.online)[1::2])
    cells = tuple(
        msgspec.structs.replace(
            cell,
            cpus=cell.cpus - asleep,
            cores=tuple(msgspec.structs.replace(core, cpus=core.cpus - asleep) for core in cell.cores),
            caches=(),
        )
        for cell in whole.cells
    )
    now = msgspec.structs.replace(
        whole,
        online=whole.online - asleep,
        offline=asleep,
        cells=cells,
        cores=1,
        smt=False,
        allowed=whole.usable() - asleep,
    )
    assert digest_of(with_asleep(now, whole, asleep)) == digest_of(whole)


# ---------------------------------------------------------------- interrupts, with the agent's settings


def test_the_agent_steers_says_who_interferes_and_gives_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    steered = Interrupts(bench.tools, Say(), bench.root)
    file = "proc/irq/24/smp_affinity_list"
    guest = [Claimant(name="g", foreign=False, placement=owning(2))]
    settings = AgentSettings(irq_steering=True)
    assert steered.keep(settings, guest, HOST) == ()
    assert bench.line(file) == "0-1,3"
    bench.write(file, "2")
    (finding,) = steered.keep(settings, guest, HOST)
    assert (finding.code, finding.cause) == ("irq-moved", "somebody wrote its smp_affinity")
    assert bench.line(file) != "2"
    bench.write(file, "1-2")
    bench.write("sys/devices/system/cpu/online", "0-2")
    (finding,) = steered.keep(settings, guest, HOST)
    assert "pCPUs 3 went or came" in (finding.cause or "")
    steered.keep(AgentSettings(), guest, HOST)
    assert "irq_steering is off" in caplog.text


def test_a_host_with_irqbalance_is_told_what_to_write(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.write("proc/77/comm", "irqbalance")
    steered = Interrupts(bench.tools, Say(), bench.root)
    guest = [Claimant(name="g", foreign=False, placement=owning(2))]
    steered.keep(AgentSettings(irq_steering=True), guest, HOST)
    assert "IRQBALANCE_BANNED_CPULIST=2" in caplog.text
