"""The lab itself: what it boots is the machine that was described, and its door does what it says."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import machine as module
from tests.lab.image import LabFailed
from tests.lab.machine import STARTS, Machine, start
from tests.lab.topologies import ALL, TOPOLOGIES, LabTopology

everywhere = pytest.mark.parametrize("lab", [one.name for one in ALL if one.name != "2n-cgroup1"], indirect=True)
on_two_cells = pytest.mark.parametrize("lab", ["2n"], indirect=True)


def parse_cpus(text: str) -> list[int]:
    """A list with ranges, independent of the code under test."""
    parts = [part.split("-") for part in text.split(",") if part]
    return [cpu for part in parts for cpu in range(int(part[0]), int(part[-1]) + 1)]


def expected_cells(topology: LabTopology) -> list[list[int]]:
    """The CPUs of each cell by the kernel's numbers; QEMU's CPU i has the APIC id i on machines of 2^n CPUs."""
    order = topology.cpu_order or tuple(range(topology.cpus))
    return [sorted(order.index(cpu) for cpu in parse_cpus(cell.cpus)) for cell in topology.cells]


@everywhere
def test_kernel_sees_the_described_machine(lab: Machine) -> None:
    topology = TOPOLOGIES[lab.name]
    cpu, node = "/sys/devices/system/cpu", "/sys/devices/system/node"
    cells = range(len(topology.cells))
    files = lab.fetch(
        [f"{node}/node{cell}/{name}" for cell in cells for name in ("cpulist", "distance")]
        + [f"{cpu}/cpu{n}/topology/{name}" for n in range(topology.cpus) for name in ("thread_siblings_list", "die_id")]
        + [f"{cpu}/cpu{n}/topology/physical_package_id" for n in range(topology.cpus)]
    )
    text = {path: content.decode().strip() for path, content in files.items()}
    assert [parse_cpus(text[f"{node}/node{cell}/cpulist"]) for cell in cells] == expected_cells(topology)
    for cell in cells:
        row = [int(word) for word in text[f"{node}/node{cell}/distance"].split()]
        want = [10 if cell == other else topology.distances[min(cell, other), max(cell, other)] for other in cells]
        assert row == want
    places = [(text[f"{cpu}/cpu{n}/topology/{name}"]) for n in range(topology.cpus) for name in ("die_id",)]
    sockets = [text[f"{cpu}/cpu{n}/topology/physical_package_id"] for n in range(topology.cpus)]
    siblings = {text[f"{cpu}/cpu{n}/topology/thread_siblings_list"] for n in range(topology.cpus)}
    assert len(set(sockets)) == topology.sockets
    assert len(set(zip(sockets, places, strict=True))) == topology.sockets * topology.dies
    assert {len(parse_cpus(group)) for group in siblings} == {topology.threads}


@everywhere
def test_time_inside_is_not_what_the_kernel_thinks_its_tsc_is(lab: Machine) -> None:
    assert lab.read("/sys/devices/system/clocksource/clocksource0/current_clocksource") == "hpet\n"


@on_two_cells
def test_a_command_brings_back_status_and_both_outputs(lab: Machine) -> None:
    done = lab.run("sh", "-c", "read word; echo out $word; echo err >&2; exit 7", stdin="in\n", status=None)
    assert (done.status, done.stdout, done.stderr) == (7, "out in\n", "err\n")


@on_two_cells
def test_a_command_past_its_time_limit_is_killed(lab: Machine) -> None:
    done = lab.run("sleep", "60", timeout_s=0.5, status=None)
    assert done.status == 124


@on_two_cells
def test_files_go_in_and_come_back(lab: Machine) -> None:
    lab.write("/tmp/lab/deep/file", "text ä\n")
    assert lab.read("/tmp/lab/deep/file") == "text ä\n"
    assert lab.read("/proc/sys/kernel/hostname") == "lab\n"


@on_two_cells
def test_libvirtd_runs_and_counts_the_cells(lab: Machine) -> None:
    assert "<cells num='2'>" in lab.run("virsh", "-q", "capabilities").stdout


@on_two_cells
def test_the_checkout_s_command_runs(lab: Machine) -> None:
    for done in (lab.shell("cellwright --version"), lab.run("cellwright", "--version")):
        assert done.stdout.startswith("cellwright ")


@pytest.mark.parametrize("hangs", range(STARTS + 1))
def test_a_saved_machine_that_does_not_answer_is_booted_and_saved_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: int
) -> None:
    state, made, removed = tmp_path / "state", object(), []
    left = [LabFailed("no answer")] * hangs

    @contextlib.contextmanager
    def restored(*_: object) -> Iterator[object]:
        if left:
            raise left.pop()
        yield made

    monkeypatch.setattr(module, "build_image", lambda _cache, **_: tmp_path)
    monkeypatch.setattr(module, "find_state", lambda *_: state)
    monkeypatch.setattr(module, "remove", removed.append)
    monkeypatch.setattr(module, "restored", restored)
    with contextlib.ExitStack() as stack:
        starting = start(TOPOLOGIES["2n"], cache=tmp_path / "cache", payload=b"")
        if hangs < STARTS:
            assert stack.enter_context(starting) is made
        else:
            with pytest.raises(LabFailed, match="no answer"):
                stack.enter_context(starting)
    assert removed == [state] * min(hangs, STARTS - 1)
