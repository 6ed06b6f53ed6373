"""Knobs: a saved tree with every one of them, and the texts one by one."""

import re
from pathlib import Path

import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.knobs import BootSets, Cgroups, IdleState, Knobs, PoolState
from agent.inspection.files import Root
from agent.inspection.knobs import parse_buddyinfo, parse_choice, parse_cmdline, possible_pages, read_knobs
from tests.inspection.trees import BUDDY, NODE, with_knobs, write

ONLINE = CpuSet.parse("0-3")


def test_every_knob_of_a_saved_tree(tmp_path: Path) -> None:
    assert read_knobs(Root(str(write(tmp_path, with_knobs()))), ONLINE) == Knobs(
        boot=BootSets(
            isolcpus=CpuSet.parse("2-3"),
            isolcpus_flags=("domain", "managed_irq"),
            nohz_full=CpuSet.parse("2-3"),
            rcu_nocbs=ONLINE,
            irqaffinity=CpuSet.parse("0-1"),
        ),
        zone_reclaim_mode=0,
        numa_balancing=1,
        ksm_run=1,
        ksm_merge_across_nodes=0,
        transparent_hugepages="madvise",
        governors={"performance": CpuSet.parse("0-1"), "powersave": CpuSet.parse("2-3")},
        idle_states=(IdleState("POLL", 0, ONLINE), IdleState("C6", 133, CpuSet.parse("0-1"))),
        irqbalance=True,
        tuned_profile="virtual-host",
        # 2 + 1 blocks of 2 MiB and 3 + 1 of 4 MiB: 11 pages of 2 MiB; no block is as large as 1 GiB
        huge_pages=(PoolState(0, 2048, 8, 3, 11), PoolState(0, 1 << 20, 0, 0, None)),
        # machine.slice has no cpuset of its own: guests get the root's
        cgroups=Cgroups(2, "machine.slice", ONLINE, CpuSet.parse("0-1")),
        smt_control="on",
        vulnerabilities={"l1tf": "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable"},
    )


def test_an_empty_tree_tells_nothing_and_is_no_error(tmp_path: Path) -> None:
    assert read_knobs(Root(str(tmp_path)), ONLINE) == Knobs()


def test_pools_that_no_kernel_has_are_none(tmp_path: Path) -> None:
    pools = (
        "node0/hugepages/hugepages-0kB",
        "node0/hugepages/hugepages-xkB",
        f"node{'9' * 30}/hugepages/hugepages-4kB",
    )
    files: dict[str, str | bytes] = {
        f"{NODE}/{pool}/{name}_hugepages": "1\n" for pool in pools for name in ("nr", "free")
    }
    assert read_knobs(Root(str(write(tmp_path, files))), ONLINE).huge_pages == ()


def test_cgroup_version_1_and_a_host_without_systemd(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "sys/fs/cgroup/cpuset/cpuset.cpus": "0-3\n",
        "sys/fs/cgroup/cpuset/machine/cpuset.cpus": "2-3\n",
    }
    found = read_knobs(Root(str(write(tmp_path, files))), ONLINE).cgroups
    assert found == Cgroups(1, "machine", CpuSet.parse("2-3"), ONLINE)


def test_this_host() -> None:
    online = CpuSet.parse(Path("/sys/devices/system/cpu/online").read_text())
    knobs = read_knobs(Root("/"), online)
    assert knobs.cgroups.version in (1, 2)
    assert all(state.enabled <= online for state in knobs.idle_states)
    assert knobs.irqbalance is not None


@pytest.mark.parametrize(
    ("text", "boot"),
    [
        ("quiet", BootSets()),
        ("isolcpus=4-7", BootSets(isolcpus=CpuSet.parse("4-7"))),
        # of a parameter given twice the last counts
        ("isolcpus=1 isolcpus=2", BootSets(isolcpus=CpuSet([2]))),
        ("isolcpus=nohz,domain,0-6:2", BootSets(isolcpus=CpuSet.parse("0,2,4,6"), isolcpus_flags=("nohz", "domain"))),
        ("nohz_full=all", BootSets(nohz_full=CpuSet.parse("0-7"))),
        ("rcu_nocbs=6-N", BootSets(rcu_nocbs=CpuSet.parse("6-7"))),
        # the kernel ignores what it cannot read
        ("isolcpus=7-4", BootSets()),
        ("isolcpus= irqaffinity=", BootSets()),
    ],
)
def test_command_lines(text: str, boot: BootSets) -> None:
    assert parse_cmdline(text, 7) == boot


@pytest.mark.parametrize("text", ["", "always madvise never", "[]", "[a"])
def test_a_choice_without_a_chosen_word(text: str) -> None:
    with pytest.raises(BadInput, match="allowed: words of which one is in brackets"):
        parse_choice(text)


def test_buddyinfo_sums_the_zones_of_a_cell() -> None:
    assert parse_buddyinfo(BUDDY)[0][9:] == (3, 4)
    assert possible_pages((0, 5, 1), 1) == 7
    assert possible_pages((0, 5, 1), 3) is None
    with pytest.raises(BadInput, match=re.escape("line 1: found 'Node zero'; allowed: Node 0, zone Normal 1 2 3 …")):
        parse_buddyinfo("Node zero")
