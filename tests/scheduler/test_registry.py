"""Rules by name: ours, third parties' through entry points, Nova's spelling, and what is none; the order of weights."""

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import BadInput
from agent.core.request import Flavor, Request
from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.registry import all_filters, all_weighers, chosen_filters, chosen_weighers
from agent.scheduler.select import candidates
from agent.scheduler.table import HostRow, HostTable
from agent.scheduler.wanted import Wanted
from agent.scheduler.weigh import best_first, weigh
from agent.settings.scheduling import DEFAULT_FILTERS, SchedulingSettings

WANTED = Wanted(request=Request(flavor=Flavor(vcpus=4, ram_mb=64)))


class EvenHosts:
    """A filter as it would be written for Nova."""

    RUN_ON_REBUILD = True

    def host_passes(self, host_state: Any, spec_obj: Any) -> bool:
        return int(host_state.host[1:]) % 2 == 0 and host_state.vcpus_total >= spec_obj.request.flavor.vcpus


class Later:
    """A weigher as it would be written for Nova: a later number is better."""

    minval = 0.0

    def _weigh_object(self, host_state: Any, weight_properties: Any) -> float:
        return float(host_state.host[1:])


def _large(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask:
    return np.asarray(table.vcpus > 4, dtype=np.bool_)


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


def test_a_third_partys_weigher_counts(table: HostTable) -> None:
    rule = all_weighers([entry("Later", "Later", "cellwright.weighers")])["Later"]
    settings = SchedulingSettings(multipliers={"later_weight_multiplier": 2.0})
    weights, parts = weigh(table, WANTED, rows=np.arange(6), weighers=(rule,), settings=settings)
    assert weights.tolist() == [0.0, 0.4, 0.8, 1.2, 1.6, 2.0]
    assert parts.keys() == {"Later"}


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
    with pytest.raises(BadInput, match=r"'Colour' is no filter; allowed: .*NUMATopology"):
        chosen_filters(SchedulingSettings(filters=("Compute", "Colour")), all_filters([]))
    with pytest.raises(BadInput, match=r"'Colour' is no weigher; allowed: .*RAM"):
        chosen_weighers(SchedulingSettings(weighers=("Colour",)), all_weighers([]))


@given(st.lists(st.integers(-3, 3) | st.floats(-2, 2), max_size=600))
def test_best_first_is_a_stable_sort(weights: list[float]) -> None:
    column = np.array(weights, dtype=np.float64)
    assert list(best_first(column)) == sorted(range(len(weights)), key=lambda position: -weights[position])
