"""Rules by name: ours, third parties' through entry points, Nova's spelling, and what is none; the order of weights."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compute.client import Client, path_of
from agent.core.errors import BadInput, CellwrightError
from agent.core.request import Flavor, Image, Request
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import candidates
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.view import SpecView
from agent.scheduler.wanted import Group, Wanted
from agent.scheduler.weigh import best_first, weigh
from agent.settings.scheduling import DEFAULT_FILTERS, SchedulingSettings
from tests.scheduler.conftest import Service

WANTED = Wanted(request=Request(flavor=Flavor(vcpus=4, ram_mb=64)))


class EvenHosts:
    """A filter as it would be written for Nova."""

    RUN_ON_REBUILD = True

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        return int(host_state.host[1:]) % 2 == 0 and host_state.vcpus_total >= spec_obj.flavor.vcpus


class Later:
    """A weigher as it would be written for Nova: a later number is better."""

    minval = 0.0

    def _weigh_object(self, host_state: Any, weight_properties: Any) -> float:
        return float(host_state.host[1:])


def _large(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    return np.asarray(table.vcpus > 4, dtype=np.bool_)


class Asked:
    """A filter and a weigher that keep whom they were asked about."""

    hosts: ClassVar[list[str]] = []

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        self.hosts.append(host_state.host)
        return str(host_state.host) != "h4"

    def _weigh_object(self, host_state: Any, weight_properties: Any) -> float:
        self.hosts.append(host_state.host)
        return 1.0


class Failing:
    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        return bool(host_state.colour)

    def _weigh_object(self, host_state: Any, weight_properties: Any) -> Any:
        return None


class Unmade(Asked):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


LARGE = Filter("Large", _large, lambda w, s: "a large host")


def entry(name: str, attribute: str, group: str = "cellwright.filters") -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{attribute}", group)


@pytest.fixture
def table() -> HostTable:
    made = HostTable()
    for number in range(6):
        made.put(HostRow(name=f"h{number}", vcpus=2 * number, ram_mb=100, free_ram_mb=100))
    return made


def passing(table: HostTable, filters: tuple[Filter, ...]) -> list[str]:
    rows, _ = candidates(table, WANTED, filters=filters, settings=SchedulingSettings())
    return [table.at(int(row)).name for row in rows]


def test_a_third_partys_plain_class_is_asked_host_by_host(table: HostTable) -> None:
    rule = all_filters([entry("EvenHosts", "EvenHosts")])["EvenHosts"]
    assert passing(table, (rule,)) == ["h2", "h4"]
    assert rule.on_rebuild


def test_a_third_partys_vector_filter_is_asked_once(table: HostTable) -> None:
    assert passing(table, (all_filters([entry("Large", "LARGE")])["Large"],)) == ["h3", "h4", "h5"]


def test_who_looks_at_one_host_at_a_time_is_asked_last_and_of_those_that_still_pass(table: HostTable) -> None:
    known = all_filters([entry("Asked", "Asked"), entry("Large", "LARGE")])
    chosen = chosen_filters(SchedulingSettings(filters=("Asked", "Large", "Compute")), known)
    Asked.hosts.clear()
    assert passing(table, chosen) == ["h3", "h5"]
    assert Asked.hosts == ["h3", "h4", "h5"]
    weigher = all_weighers([entry("Asked", "Asked", "cellwright.weighers")])["Asked"]
    Asked.hosts.clear()
    weigh(table, WANTED, rows=np.array([1, 3]), weighers=(weigher,), settings=SchedulingSettings())
    assert Asked.hosts == ["h1", "h3"]


def test_a_third_partys_rule_that_fails_is_named(table: HostTable) -> None:
    rule = all_filters([entry("Failing", "Failing")])["Failing"]
    with pytest.raises(CellwrightError, match="Failing failed on host h0: AttributeError: colour"):
        passing(table, (rule,))
    weigher = all_weighers([entry("Failing", "Failing", "cellwright.weighers")])["Failing"]
    with pytest.raises(CellwrightError, match="Failing failed on host h1: TypeError"):
        weigh(table, WANTED, rows=np.array([1, 3]), weighers=(weigher,), settings=SchedulingSettings())


def test_a_third_partys_weigher_counts(table: HostTable) -> None:
    rule = all_weighers([entry("Later", "Later", "cellwright.weighers")])["Later"]
    settings = SchedulingSettings(multipliers={"later_weight_multiplier": 2.0})
    weights = weigh(table, WANTED, rows=np.arange(6), weighers=(rule,), settings=settings)
    assert weights.total.tolist() == [0.0, 0.4, 0.8, 1.2, 1.6, 2.0]
    assert weights.names == ("Later",)


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        ("Missing", r"cellwright.filters: Odd = .*:Missing cannot be loaded: AttributeError"),
        ("Unmade", r"cellwright.filters: Odd = .*:Unmade cannot be loaded: RuntimeError: no licence"),
        ("Later", r"cellwright.filters: Odd = .*:Later is .*; allowed: a Filter or a class with host_passes"),
        ("WANTED", r"cellwright.filters: Odd = .*:WANTED is .*; allowed: a Filter or a class with host_passes"),
    ],
)
def test_what_an_entry_point_must_not_name(attribute: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        all_filters([entry("Odd", attribute)])


def test_a_wish_under_novas_names() -> None:
    flavor = Flavor(name="f", vcpus=4, ram_mb=64, disk_gb=2, ephemeral_gb=3, swap_mb=5, extra_specs={"a": True})
    request = Request(
        flavor=flavor,
        image=Image(properties={"img_hv_type": "KVM"}),
        availability_zone="az",
        hints={"same_host": ["x", "y"], "colour": "red", "none": ""},
        ignore_hosts=("i",),
        force_host="f",
    )
    group = Group(name="g", policy="anti-affinity", members=frozenset("ba"), hosts=frozenset("h"))
    spec = SpecView(Wanted(request=request, instance="id", project="p", group=group))
    assert (spec.vcpus, spec.memory_mb, spec.root_gb, spec.ephemeral_gb, spec.swap) == (4, 64, 2, 3, 5)
    assert (spec.flavor.memory_mb, spec.flavor.extra_specs) == (64, {"a": "true"})
    assert spec.image.properties.get("img_hv_type") == "kvm"
    assert (spec.project_id, spec.instance_uuid, spec.availability_zone) == ("p", "id", "az")
    assert (spec.ignore_hosts, spec.force_hosts) == (["i"], ["f"])
    assert spec.instance_group is not None
    assert (spec.instance_group.members, spec.instance_group.rules) == (["a", "b"], {"max_server_per_host": 1})
    assert [spec.get_scheduler_hint(key, "d") for key in ("same_host", "colour", "none", "x")] == [
        ["x", "y"],
        "red",
        "d",
        "d",
    ]


PLUGIN = """
import numpy as np
from agent.scheduler.filters import Filter

class Tier:
    def host_passes(self, host_state, spec_obj):
        return host_state.host.startswith(spec_obj.flavor.extra_specs.get("tier", ""))

wide = Filter("Wide", lambda table, wanted, settings: np.asarray(table.vcpus > 4), lambda w, s: "more than 4 pCPUs")

class Last:
    def _weigh_object(self, host_state, weight_properties):
        return int(host_state.host[-1])
"""
ENTRY_POINTS = """
[cellwright.filters]
Tier = third_party:Tier
Wide = third_party:wide
[cellwright.weighers]
Last = third_party:Last
"""


def test_an_installed_third_party_decides_in_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site" / "third_party-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "site" / "third_party.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/site")
    config = '[scheduling]\nfilters = ["Tier", "Wide", "NUMATopology"]\nweighers = ["Last"]\n'
    service = Service(tmp_path, config=config)
    service.start()
    try:
        for name, cores in (("gold-1", 8), ("gold-2", 8), ("gold-3", 2), ("iron-4", 8)):
            service.json("host", "add", name, "--synthetic", f"cell:1 core:{cores} memory:1GiB")
        service.json("flavor", "create", "--vcpus", "1", "--ram", "64", "--property", "tier=gold", "gold")
        assert service.json("instance", "create", "--flavor", "gold", "--hint", "any=thing", "vm")["host"] == "gold-2"
        trace = Client(service.url, service.token).call("GET", path_of("instances", "vm", "decision"))["trace"]
    finally:
        service.stop()
    assert [(step["filter"], step["removed"]) for step in trace["removed"]] == [("Wide", 1), ("Tier", 1)]
    assert trace["best"][0] == {"host": "gold-2", "weight": 1.0, "parts": {"Last": 1.0}}


def test_a_third_party_replaces_ours_of_the_same_name(table: HostTable) -> None:
    assert passing(table, (all_filters([entry("Compute", "LARGE")])["Compute"],)) == ["h3", "h4", "h5"]


@pytest.mark.parametrize("spelling", ["{}", "{}Filter"])
def test_novas_spelling_is_taken(spelling: str) -> None:
    settings = SchedulingSettings(filters=tuple(spelling.format(name) for name in DEFAULT_FILTERS))
    assert [rule.name for rule in chosen_filters(settings, all_filters([]))] == list(DEFAULT_FILTERS)


def test_novas_weighers_too() -> None:
    chosen = chosen_weighers(SchedulingSettings(weighers=("RAMWeigher", "Disk")), all_weighers([]))
    assert [rule.name for rule in chosen] == ["RAM", "Disk"]


def test_what_is_none_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"\[scheduling\] filters: 'Colour' is no filter; allowed: .*NUMATopology"):
        chosen_filters(SchedulingSettings(filters=("Compute", "Colour")), all_filters([]))
    with pytest.raises(BadInput, match=r"\[scheduling\] weighers: 'Colour' is no weigher; allowed: .*RAM"):
        chosen_weighers(SchedulingSettings(weighers=("Colour",)), all_weighers([]))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            SchedulingSettings(multipliers={"ramm_weight_multiplier": 2.0}),
            r"multipliers\]: unknown key 'ramm_weight_multiplier'; allowed: .*ram_weight_multiplier",
        ),
        (
            SchedulingSettings(multipliers={"ram_weight_multiplier": float("nan")}),
            r"multipliers\] ram_weight_multiplier = nan; allowed: finite",
        ),
        (SchedulingSettings(metrics_weight_of_unavailable=float("nan")), r"scheduling\] metrics_weight_of_unavailable"),
        (SchedulingSettings(metrics_weights={"cpu.percent": float("inf")}), r"metrics_weights\] cpu.percent = inf"),
    ],
)
def test_weights_that_nobody_reads_or_that_are_no_numbers(settings: SchedulingSettings, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        chosen_weighers(settings, all_weighers([]))


@given(st.lists(st.integers(-3, 3) | st.floats(-2, 2), max_size=600))
def test_best_first_is_a_stable_sort(weights: list[float]) -> None:
    column = np.array(weights, dtype=np.float64)
    assert list(best_first(column)) == sorted(range(len(weights)), key=lambda position: -weights[position])
