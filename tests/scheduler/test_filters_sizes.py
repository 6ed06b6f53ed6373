"""Core, Ram, Disk and their Aggregate variants: what Nova took out after 19.0.0, as it was."""

import pytest

from tests.scheduler.tables import passing, row, wish

HOSTS = (
    row("empty"),
    row("half", vcpus_used=4, free_ram_mb=500, free_disk_gb=5),
    row("full", vcpus_used=8, free_ram_mb=0, free_disk_gb=0),
    row("generous", vcpus_used=8, free_ram_mb=0, free_disk_gb=0, cpu_ratio=2.0, ram_ratio=2.0),
)
TABLE = [
    ("Core", wish(4), "empty half generous", "what is left is enough"),
    ("Core", wish(5), "empty generous", "one more than what is left is not"),
    ("Core", wish(8), "empty generous", "the ratio counts"),
    ("Core", wish(9), "", "no guest is larger than the machine itself, whatever the ratio"),
    ("Ram", wish(1, 500), "empty half generous", "memory that is left"),
    ("Ram", wish(1, 501), "empty generous", "one MiB more"),
    ("Ram", wish(1, 1001), "", "no guest is larger than the machine itself"),
    ("Disk", wish(flavor={"disk_gb": 5}), "empty half", "disk that is left"),
    ("Disk", wish(flavor={"disk_gb": 4, "ephemeral_gb": 2}), "empty", "ephemeral disk counts"),
    ("Disk", wish(flavor={"disk_gb": 5, "swap_mb": 1}), "empty", "and swap, in MiB"),
    ("Disk", wish(flavor={"disk_gb": 11}), "", "no guest is larger than the disk itself"),
]


@pytest.mark.parametrize(("rule", "wanted", "hosts", "why"), TABLE, ids=[f"{r[0]}: {r[3]}" for r in TABLE])
def test_table(rule, wanted, hosts, why):
    assert passing(rule, HOSTS, wanted) == hosts, why


def test_a_host_of_unknown_pcpus_passes_core():
    assert passing("Core", [row("unknown", vcpus=0)], wish(4)) == "unknown"


@pytest.mark.parametrize(
    ("rule", "key", "wanted"),
    [
        ("AggregateCore", "cpu_allocation_ratio", wish(4)),
        ("AggregateRam", "ram_allocation_ratio", wish(1, 500)),
        ("AggregateDisk", "disk_allocation_ratio", wish(flavor={"disk_gb": 5})),
    ],
)
def test_an_aggregates_ratio_replaces_the_hosts(rule, key, wanted):
    full = row("full", vcpus_used=8, free_ram_mb=0, free_disk_gb=0)
    assert passing(rule, [full], wanted) == ""
    assert passing(rule, [full], wanted, aggregates={"a": ({key: "1.5"}, "full")}) == "full"
    both = {"a": ({key: "9"}, "full"), "b": ({key: "1.1"}, "full")}
    assert passing(rule, [full], wanted, aggregates=both) == "", "the least of several"
    assert passing(rule, [full], wanted, aggregates={"a": ({key: "much"}, "full")}) == "", "no number: the host's own"
    assert passing(rule, [full], wanted, aggregates={"a": ({key: "9"}, "other")}) == "", "another host's aggregate"
