"""In which order hosts are tried."""

import pytest

from agent.core.placement import Misfit
from agent.scheduler.select import select
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.tables import row, wish

HOSTS = [f"h{number}" for number in range(8)]


def tried(wanted: Wanted) -> list[str]:
    """The hosts in the order in which they are asked, when each refuses."""
    table, asked = HostTable(), []
    for name in HOSTS:
        table.put(row(name))

    def refuse(number: int, wanted: Wanted) -> Misfit:
        asked.append(table.at(number).name)
        return Misfit(host=asked[-1], name="", misfits=())

    select(table, wanted, filters=(), weighers=(), settings=SchedulingSettings(), fit=refuse)
    return asked


@pytest.mark.parametrize(("races", "first"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 8), (20, 8)])
def test_after_a_race_each_instance_has_an_alternate_of_its_own(races: int, first: int) -> None:
    orders = [tried(wish(instance=f"id-{number}", races=races)) for number in range(100)]
    assert {order[0] for order in orders} == set(HOSTS[:first])
    assert {frozenset(order) for order in orders} == {frozenset(HOSTS)}
    assert {tuple(order[first:]) for order in orders} == {tuple(HOSTS[first:])}
