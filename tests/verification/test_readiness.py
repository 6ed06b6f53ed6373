"""Readiness: one named host and one knob a row, and what is said about it."""

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.knobs import BootSets, Cgroups, IdleState, Knobs, PoolState
from agent.core.topology import Cell, HostTopology
from agent.verification.readiness import RULES, Severity, check_readiness
from tests.hosts import host

DEDICATED = CpuSet.parse("4-17,40-53,22-35,58-71")
SHARED = CpuSet.parse("0-3,36-39,18-21,54-57")
QUIET = Knobs(
    boot=BootSets(isolcpus=DEDICATED, nohz_full=DEDICATED, rcu_nocbs=DEDICATED, irqaffinity=SHARED),
    zone_reclaim_mode=0,
    numa_balancing=0,
    ksm_run=0,
    ksm_merge_across_nodes=1,
    transparent_hugepages="madvise",
    governors={"performance": DEDICATED | SHARED},
    idle_states=(IdleState("POLL", 0, DEDICATED | SHARED), IdleState("C6", 133, SHARED)),
    irqbalance=True,
    tuned_profile="cpu-partitioning",
    huge_pages=(PoolState(0, 2048, 512, 0, 40000), PoolState(1, 2048, 512, 0, 40000)),
    cgroups=Cgroups(2, "machine.slice", DEDICATED | SHARED, SHARED),
    vulnerabilities={"l1tf": "Mitigation: PTE Inversion; VMX: flush, SMT disabled"},
)
"""What an operator who has followed every hint has on osdev-split."""


def test_a_host_with_everything_in_order_has_no_findings() -> None:
    assert check_readiness(host("osdev-split"), QUIET) == ()


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        # no sets at all: an advice, and nothing that speaks of a dedicated set
        ("osdev-01", {"cgroups": Cgroups(2), "boot": BootSets()}, ["no-dedicated-set"]),
        # a tree without its command line, cgroups and processes: silence about them is no praise
        ("osdev-split", {"boot": None, "cgroups": Cgroups(), "irqbalance": None}, ["not-told"]),
        # isolated, but no sets: floating guests may use every pCPU, the isolated ones included
        ("osdev-01", {}, ["shared-on-isolated", "no-dedicated-set"]),
        # one cell: page placement cannot go wrong, so balancing and zone reclaim don't matter
        ("tiny", {"numa_balancing": 1, "zone_reclaim_mode": 1, "huge_pages": ()}, ["no-dedicated-set"]),
        ("osdev-split", {"numa_balancing": 1}, ["numa-balancing"]),
        ("osdev-split", {"numa_balancing": 2}, ["numa-balancing"]),
        ("osdev-split", {"zone_reclaim_mode": 1}, ["zone-reclaim"]),
        ("osdev-split", {"ksm_run": 1}, ["ksm-across-cells"]),
        # merging inside a cell keeps locality
        ("osdev-split", {"ksm_run": 1, "ksm_merge_across_nodes": 0}, []),
        ("osdev-split", {"transparent_hugepages": "never"}, ["transparent-hugepages"]),
        ("osdev-split", {"governors": {"powersave": CpuSet.parse("0-5")}}, ["governor"]),
        # the governor of shared pCPUs is nobody's business
        ("osdev-split", {"governors": {"powersave": SHARED}}, []),
        ("osdev-split", {"idle_states": (IdleState("C6", 133, DEDICATED),)}, ["c-states"]),
        ("osdev-split", {"idle_states": (IdleState("C1", 2, DEDICATED),)}, []),
        ("osdev-split", {"tuned_profile": "balanced"}, ["tuned-profile"]),
        # services confined by their slice, with nothing isolated at boot, is as good
        ("osdev-split", {"boot": BootSets(irqaffinity=SHARED), "irqbalance": False}, []),
        ("osdev-split", {"boot": None, "cgroups": Cgroups(2, "machine.slice"), "irqbalance": False},
         ["host-processes-on-dedicated", "not-told"]),
        ("osdev-split", {"boot": BootSets(irqaffinity=SHARED)}, ["irqbalance"]),
        # interrupts go everywhere when neither irqaffinity nor irqbalance steers them
        ("osdev-split", {"boot": msgspec.structs.replace(QUIET.boot, irqaffinity=None), "irqbalance": False},
         ["irqaffinity"]),
        # isolated by boot option, but with the tick still on
        ("osdev-split", {"boot": BootSets(isolcpus=DEDICATED, irqaffinity=SHARED)}, ["nohz-full", "rcu-nocbs"]),
        # kept from managed interrupts alone (OpenShift's profiles): the scheduler uses them as any others
        ("osdev-01", {"boot": BootSets(isolcpus=DEDICATED, isolcpus_flags=("managed_irq",))}, ["no-dedicated-set"]),
        ("osdev-split", {"boot": msgspec.structs.replace(QUIET.boot, isolcpus_flags=("managed_irq",)),
                         "cgroups": Cgroups(2, "machine.slice", DEDICATED | SHARED, DEDICATED | SHARED)},
         ["host-processes-on-dedicated"]),
        # the worst misunderstanding: shared pCPUs isolated
        ("osdev-split", {"boot": msgspec.structs.replace(QUIET.boot, isolcpus=DEDICATED | SHARED)},
         ["shared-on-isolated"]),
        ("osdev-split", {"huge_pages": (PoolState(0, 2048, 512, 9, 40000), PoolState(1, 2048, 0, 0, 40000))},
         ["huge-pages-missing"]),
        # 190 GiB are free on cell 0, but whole 2 MiB blocks only for 20 MiB
        ("osdev-split", {"huge_pages": (PoolState(0, 2048, 5, 0, 10), PoolState(1, 2048, 5, 0, 40000))},
         ["fragmented"]),
        # nobody has asked for huge pages: free blocks don't matter
        ("osdev-split", {"huge_pages": (PoolState(0, 2048, 0, 0, 10), PoolState(1, 2048, 0, 0, 10))}, []),
        ("osdev-split", {"cgroups": Cgroups(2, "machine.slice", SHARED, SHARED)}, ["guest-cpuset"]),
        ("osdev-split", {"cgroups": Cgroups(1, "machine", DEDICATED | SHARED, SHARED)}, ["cgroup-version"]),
        ("osdev-split", {"vulnerabilities": {"mds": "Mitigation: Clear CPU buffers; SMT vulnerable"}},
         ["smt-vulnerable"]),
        # no siblings, nobody to read from
        ("no-smt", {"vulnerabilities": {"mds": "Mitigation: Clear CPU buffers; SMT vulnerable"}, "boot": BootSets()},
         ["no-dedicated-set"]),
        # a kernel without KSM and NUMA balancing is not blamed for it
        ("osdev-split", dict.fromkeys(("tuned_profile", "ksm_run", "numa_balancing", "zone_reclaim_mode")), []),
    ],
)  # fmt: skip
def test_one_knob_at_a_time(name: str, knobs: dict[str, object], said: list[str]) -> None:
    found = check_readiness(host(name), msgspec.structs.replace(QUIET, **knobs))
    assert [finding.code for finding in found] == said


def test_a_legacy_pin_set_is_judged_as_one_without_dedicated_pcpus() -> None:
    legacy = msgspec.structs.replace(host("osdev-01"), dedicated_set=DEDICATED, shared_set=DEDICATED)
    knobs = msgspec.structs.replace(QUIET, boot=BootSets())
    assert [finding.code for finding in check_readiness(legacy, knobs)] == ["no-dedicated-set"]


def test_sets_that_split_cores_or_leave_nothing() -> None:
    knobs = Knobs(boot=BootSets(irqaffinity=CpuSet()), cgroups=Cgroups(2, None, None, CpuSet()), irqbalance=False)

    def codes(dedicated: str, shared: str) -> list[str]:
        sets = msgspec.structs.replace(
            host("tiny"), dedicated_set=CpuSet.parse(dedicated), shared_set=CpuSet.parse(shared)
        )
        return [finding.code for finding in check_readiness(sets, knobs)]

    assert codes("1", "0,2-3") == ["split-core"]  # pCPU 3 is the sibling of 1
    assert codes("1,3", "0,2") == []
    assert codes("0-3", "") == ["nothing-left-for-the-host"]


def test_where_all_pcpus_are_dedicated_nothing_can_be_kept_off_them() -> None:
    full = msgspec.structs.replace(host("tiny"), dedicated_set=host("tiny").online, shared_set=CpuSet())
    for knobs in ({"irqbalance": True}, {"boot": BootSets(), "irqbalance": False}):
        found = check_readiness(full, Knobs(cgroups=Cgroups(2), **knobs))
        assert "nothing-left-for-the-host" in [finding.code for finding in found]
        assert not {"host-processes-on-dedicated", "irqbalance", "irqaffinity"} & {finding.code for finding in found}


def test_memory_without_pcpus_needs_no_huge_pages() -> None:
    split = host("osdev-split")
    far = msgspec.structs.replace(split, cells=(*split.cells, Cell(2, CpuSet(), memory_kib=1 << 27)))
    assert check_readiness(far, QUIET) == ()


def test_a_restricted_process_is_told() -> None:
    inside: HostTopology = msgspec.structs.replace(host("tiny"), allowed=CpuSet.parse("0-1"))
    assert "restricted" in [finding.code for finding in check_readiness(inside, QUIET)]


def test_findings_that_matter_come_first_and_every_one_says_what_to_type() -> None:
    everything = Knobs(
        boot=BootSets(isolcpus=SHARED | CpuSet.parse("4-7")),
        zone_reclaim_mode=1,
        numa_balancing=1,
        ksm_run=1,
        transparent_hugepages="never",
        governors={"powersave": DEDICATED},
        irqbalance=True,
        tuned_profile="desktop",
        vulnerabilities={"l1tf": "SMT vulnerable"},
    )
    found = check_readiness(host("osdev-split"), everything)
    severities = [finding.severity for finding in found]
    assert severities == sorted(severities, key=lambda severity: severity is not Severity.MATTERS)
    assert len({finding.code for finding in found}) > 9
    assert all(finding.what and finding.why and finding.change for finding in found)
    assert len(RULES) == 16
